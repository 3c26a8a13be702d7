// The tests in scope, and which of them a run is to have.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"

	"sigs.k8s.io/yaml"
)

// scope prints the names of the conformance tests of the three groups, sorted, less those that are left out.
func scope(metadata string) error {
	text, err := os.ReadFile(metadata)
	if err != nil {
		return err
	}
	var tests []struct {
		Codename string `json:"codename"`
	}
	if err := yaml.Unmarshal(text, &tests); err != nil {
		return err
	}
	out, err := pairs("left-out.txt")
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for _, line := range out {
		left[line[0]] = true
	}
	var names []string
	for _, test := range tests {
		group, _, _ := strings.Cut(test.Codename, " ")
		switch {
		case group != "[sig-node]" && group != "[sig-storage]" && group != "[sig-apps]":
		case left[test.Codename]:
			delete(left, test.Codename)
		default:
			names = append(names, test.Codename)
		}
	}
	for name := range left {
		return fmt.Errorf("left-out.txt: no such test: %s", name)
	}
	sort.Strings(names)
	fmt.Println(strings.Join(names, "\n"))
	return nil
}

// rest prints the tests in scope that have not passed yet.
func rest(path string) error {
	inScope, err := lines("scope.txt")
	if err != nil {
		return err
	}
	specs, err := read(path)
	if err != nil {
		return err
	}
	for _, test := range inScope {
		if s, ran := specs[test]; !ran || s.Failure != nil {
			fmt.Println(test)
		}
	}
	return nil
}

// pairs reads lines of fields between tabs; comments are skipped.
func pairs(path string) ([][]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines [][]string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		line := scanner.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) < 2 {
			return nil, fmt.Errorf("%s: no tab in: %s", path, line)
		}
		lines = append(lines, fields)
	}
	return lines, nil
}
