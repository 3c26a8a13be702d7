// Checks that programs land where k3s unpacks them, once, with its links and its PATH.
package bundle

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestStage(t *testing.T) {
	source, data := t.TempDir(), t.TempDir()
	write(t, filepath.Join(source, "runc"), "one")
	write(t, filepath.Join(source, "cni"), "cni")
	write(t, filepath.Join(source, sums), "one\n")
	if err := os.Symlink("cni", filepath.Join(source, "bridge")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/host")
	first, err := Stage(source, data, false)
	if err != nil {
		t.Fatal(err)
	}
	cni := filepath.Join(data, "data", "cni")
	if got, want := os.Getenv("PATH"), cni+":"+first+"/bin:/host:"+first+"/bin/aux"; got != want {
		t.Errorf("PATH=%s, want %s", got, want)
	}
	if got, _ := os.Readlink(filepath.Join(cni, "bridge")); got != first+"/bin/cni" {
		t.Errorf("bridge is %q", got)
	}
	write(t, filepath.Join(cni, "mine"), "mine")

	if again, err := Stage(source, data, false); err != nil || again != first {
		t.Errorf("%s, %v", again, err)
	}
	write(t, filepath.Join(source, "runc"), "two")
	write(t, filepath.Join(source, sums), "two\n")
	second, err := Stage(source, data, true)
	if err != nil || second == first {
		t.Fatal(second, err)
	}
	for link, want := range map[string]string{
		filepath.Join(data, "data", "current"): second, filepath.Join(data, "data", "previous"): first,
		filepath.Join(cni, "bridge"): second + "/bin/cni",
	} {
		if got, _ := os.Readlink(link); got != want {
			t.Errorf("%s is %s, want %s", link, got, want)
		}
	}
	if raw, _ := os.ReadFile(filepath.Join(second, "bin", "runc")); string(raw) != "two" {
		t.Errorf("runc is %q", raw)
	}
	if raw, _ := os.ReadFile(filepath.Join(cni, "mine")); string(raw) != "mine" {
		t.Error("the user's own plugin is gone")
	}
}
