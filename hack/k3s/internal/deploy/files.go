// Package deploy applies the manifests that lie in a folder, and again when they change, as
// k3s does with server/manifests. Removing a file removes nothing from the cluster.
package deploy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// manifest is a file of the folder.
type manifest struct {
	path string
	raw  []byte
	sum  [sha256.Size]byte
}

// scan returns the manifests in the order of their names. Left out are those that a file of
// the same name with .skip behind it, or --disable, switches off.
func scan(dir string, disabled []string) ([]manifest, error) {
	skips := map[string]bool{}
	var found []manifest
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if file, ok := strings.CutSuffix(path, ".skip"); ok {
			skips[file] = true
			return nil
		}
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) || isDisabled(dir, path, disabled) {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found = append(found, manifest{path, raw, sha256.Sum256(raw)})
		return nil
	})
	return slices.DeleteFunc(found, func(m manifest) bool { return skips[m.path] }), err
}

// isDisabled compares the file's name without its ending, and the folder that it lies in.
func isDisabled(dir, path string, disabled []string) bool {
	base := filepath.Base(path)
	if slices.Contains(disabled, strings.TrimSuffix(base, filepath.Ext(base))) {
		return true
	}
	below, err := filepath.Rel(dir, filepath.Dir(path))
	return err == nil && below != "." && slices.Contains(disabled, strings.Split(below, string(filepath.Separator))[0])
}

// objects parses the documents of a manifest; a List counts as its items.
func (m manifest) objects() (out []*unstructured.Unstructured, err error) {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(m.raw), 4096)
	for {
		var content map[string]any
		if err := documents.Decode(&content); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		if len(content) == 0 {
			continue
		}
		u := &unstructured.Unstructured{Object: content}
		if !u.IsList() {
			out = append(out, u)
			continue
		}
		list, err := u.ToList()
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
	}
}
