// Checks which files count, and how they are read.
package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestScan(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "kind: A\nmetadata: {name: a}\n---\n---\nkind: B\nmetadata: {name: b}\n", "b.json": `{"kind":"List","items":[{"kind":"C"}]}`,
		"traefik.yaml": "kind: X\n", "traefik/more.yaml": "kind: X\n", "skipped.yml": "kind: X\n", "skipped.yml.skip": "", "notes.txt": "x",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := scan(dir, []string{"traefik"})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, m := range found {
		objects, err := m.objects()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			kinds = append(kinds, o.GetKind())
		}
	}
	if !slices.Equal(kinds, []string{"A", "B", "C"}) {
		t.Errorf("%q", kinds)
	}
	if _, err := (manifest{raw: []byte("a: [\n")}).objects(); err == nil {
		t.Error("broken YAML is accepted")
	}
}
