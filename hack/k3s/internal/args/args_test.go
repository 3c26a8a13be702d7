// Checks how users' flags go over the defaults.
package args

import (
	"slices"
	"testing"
)

func TestMerge(t *testing.T) {
	got := Merge(map[string]string{"secure-port": "10257", "profiling": "false"},
		[]string{"secure-port=20257", "--v=2", "feature-gates=A=true"})
	want := []string{"--feature-gates=A=true", "--profiling=false", "--secure-port=20257", "--v=2"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
