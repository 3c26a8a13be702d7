// Command report writes what make conformance generates: the list of tests in scope, the trimmed results, the table.
//
//	report scope FILE        the tests of upstream's conformance.yaml, less those in left-out.txt
//	report merge OLD NEW…    the results in OLD with those in NEW over them, as JUnit, without the logs
//	report rest FILE         the tests in scope that have not passed in FILE
//	report table             docs/conformance.md, of docs/conformance/*.xml, causes.yaml, images.tsv and left-out.txt
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "scope":
		err = scope(args[1])
	case len(args) >= 3 && args[0] == "merge":
		err = merge(args[1], args[2:])
	case len(args) == 2 && args[0] == "rest":
		err = rest(args[1])
	case len(args) == 1 && args[0] == "table":
		err = table()
	default:
		err = fmt.Errorf("usage: report scope FILE | merge OLD NEW… | rest FILE | table")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}
