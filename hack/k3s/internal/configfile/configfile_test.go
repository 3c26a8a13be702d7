// Checks k3s's rules for the configuration file: order, drop-ins, appending, skipping.
package configfile

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parser(file string) *Parser {
	return &Parser{Commands: []string{"server"}, Flags: []string{"--config", "-c"}, Default: file}
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "config.yaml", "token: abc\ndisable:\n- traefik\n- coredns\nv: 2\ndisable-agent: true\n")
	write(t, dir, "config.yaml.d/01.yaml", "token: def\ndisable+:\n- servicelb\n")
	write(t, dir, "config.yaml.d/02.YML", "node-name: n1\n")
	write(t, dir, "config.yaml.d/03.txt", "token: ignored\n")

	got, err := parser(file).Expand([]string{"k3s", "server", "--debug"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"k3s", "server", "--token=def", "--disable=traefik", "--disable=coredns",
		"--disable=servicelb", "-v=2", "--disable-agent=true", "--node-name=n1", "--debug"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFlagAndEnvironmentNameTheFile(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a.yaml", "token: a\n")
	b := write(t, dir, "b.yaml", "token: b\n")
	p := parser(filepath.Join(dir, "missing.yaml"))
	p.Env = "K3S_CONFIG_FILE_FOR_TEST"

	got, _ := p.Expand([]string{"k3s", "server", "-c", a})
	if got[2] != "--token=a" {
		t.Errorf("flag: %q", got)
	}
	t.Setenv(p.Env, b)
	got, _ = p.Expand([]string{"k3s", "server", "-c", a})
	if got[2] != "--token=b" {
		t.Errorf("environment: %q", got)
	}
}

func TestMissingFileAndOtherCommandsAreLeftAlone(t *testing.T) {
	args := []string{"k3s", "server", "--debug"}
	got, err := parser("/nonexistent/config.yaml").Expand(args)
	if err != nil || !reflect.DeepEqual(got, args) {
		t.Errorf("missing file: %q, %v", got, err)
	}
	file := write(t, t.TempDir(), "config.yaml", "token: a\n")
	args = []string{"k3s", "kubectl", "get", "pods"}
	got, err = parser(file).Expand(args)
	if err != nil || !reflect.DeepEqual(got, args) {
		t.Errorf("other command: %q, %v", got, err)
	}
}

func TestUnknownKeysAreSkipped(t *testing.T) {
	file := write(t, t.TempDir(), "config.yaml", "token: a\nno-such-flag: 1\n")
	p := parser(file)
	p.Valid = map[string]map[string]bool{"server": {"token": true}}
	warned := 0
	p.Warn = func(string, ...any) { warned++ }
	got, err := p.Expand([]string{"k3s", "server"})
	if err != nil || !reflect.DeepEqual(got, []string{"k3s", "server", "--token=a"}) || warned != 1 {
		t.Errorf("%q, %v, %d warnings", got, err, warned)
	}
}

func TestBrokenFileIsAnError(t *testing.T) {
	for _, text := range []string{"- a\n- b\n", "a: [\n"} {
		if _, err := parser(write(t, t.TempDir(), "config.yaml", text)).Expand([]string{"k3s", "server"}); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
