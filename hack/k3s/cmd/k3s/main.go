// The stand-in for k3s: one program that is k3s, or kubectl or ctr when it is called so.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sandbar.dev/hack/k3s/internal/bundle"
	"sandbar.dev/hack/k3s/internal/cli"
	"sandbar.dev/hack/k3s/internal/component"
	"sandbar.dev/hack/k3s/internal/kubectl"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "kubectl":
		if err := kubectl.Main(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "ctr", "crictl":
		if err := bundle.Run(name, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case component.KubeletName:
		os.Exit(component.KubeletMain())
	default:
		cli.Main(os.Args)
	}
}
