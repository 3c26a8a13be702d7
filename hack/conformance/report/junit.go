// Reads the JUnit files of the runs.
package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
)

// A suites is JUnit's file, as far as it is kept.
type suites struct {
	XMLName xml.Name `xml:"testsuites"`
	Suites  []suite  `xml:"testsuite"`
}

type suite struct {
	Name     string `xml:"name,attr"`
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Cases    []spec `xml:"testcase"`
}

type spec struct {
	Name    string   `xml:"name,attr"`
	Time    float64  `xml:"time,attr"`
	Status  string   `xml:"status,attr,omitempty"`
	Failure *failure `xml:"failure,omitempty"`
	Error   *failure `xml:"error,omitempty"`
	Skipped *struct {
		Message string `xml:"message,attr"`
	} `xml:"skipped"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// read gives the specs of a file that ran, by the name that scope.txt has for them; a file that is not there has none.
func read(path string) (map[string]spec, error) {
	specs := map[string]spec{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return specs, nil
	} else if err != nil {
		return nil, err
	}
	var all suites
	if err := xml.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, suite := range all.Suites {
		for _, s := range suite.Cases {
			name, isTest := strings.CutPrefix(s.Name, "[It] ")
			if !isTest && !strings.HasPrefix(name, "[sig-") {
				continue // the suite's own set-up
			}
			// Ginkgo appends the labels.
			s.Name = name[:strings.LastIndex(name, "]")+1]
			if i := strings.Index(s.Name, "[Conformance] ["); i > 0 {
				s.Name = s.Name[:i+len("[Conformance]")]
			}
			if s.Error != nil {
				s.Failure, s.Error = s.Error, nil
			}
			if s.Failure != nil {
				s.Failure.Text = "" // stack traces and times, other in every run
			}
			if s.Status == "interrupted" || s.Status == "timedout" {
				continue // the whole run was ended; the test's own limits are failures
			}
			if s.Skipped == nil || s.Skipped.Message != "skipped" && s.Skipped.Message != "" {
				specs[s.Name] = s
			}
		}
	}
	return specs, nil
}

// merge prints one file of several, later over earlier.
func merge(old string, news []string) error {
	specs, err := read(old)
	if err != nil {
		return err
	}
	for _, path := range news {
		newer, err := read(path)
		if err != nil {
			return err
		}
		for name, s := range newer {
			specs[name] = s
		}
	}
	out := suite{Name: "conformance"}
	for _, s := range specs {
		out.Tests++
		if s.Failure != nil {
			out.Failures++
		}
		out.Cases = append(out.Cases, s)
	}
	sort.Slice(out.Cases, func(i, j int) bool { return out.Cases[i].Name < out.Cases[j].Name })
	text, err := xml.MarshalIndent(suites{Suites: []suite{out}}, "", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("%s%s\n", xml.Header, text)
	return nil
}
