// Package args builds a component's command line.
package args

import (
	"slices"
	"strings"
)

// Merge lets the user's flags replace the defaults of the same name. A flag that is given
// twice stays twice.
func Merge(defaults map[string]string, own []string) []string {
	given := map[string]bool{}
	var out []string
	for _, o := range own {
		name, value, _ := strings.Cut(strings.TrimLeft(o, "-"), "=")
		given[name] = true
		out = append(out, "--"+name+"="+value)
	}
	for name, value := range defaults {
		if !given[name] {
			out = append(out, "--"+name+"="+value)
		}
	}
	slices.Sort(out)
	return out
}

// Has says whether the user gives this flag.
func Has(own []string, flag string) bool {
	return slices.ContainsFunc(own, func(o string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(o, "-"), "=")
		return name == flag
	})
}

// Split undoes commas inside the values of a flag that may be given several times.
func Split(values []string) (out []string) {
	for _, v := range values {
		for _, s := range strings.Split(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}
