// Package version says which k3s the stand-in stands in for. The linker fills the
// variables in (build.sh); their defaults serve `go test` and `go run`.
package version

import "runtime"

// Program is the name under which every file, flag and environment variable is known.
const Program = "k3s"

// ProgramUpper is the prefix of the environment variables.
const ProgramUpper = "K3S"

var (
	// Version is Kubernetes' version with k3s's suffix, and says that this is a stand-in.
	Version = "v0.0.0-dev+k3s1-standin"
	// Commit identifies the sources that were built.
	Commit = "00000000"
)

// Full is what `k3s --version` prints after the program's name.
func Full() string { return Version + " (" + Commit + ")" }

// Go is the version of the Go tool chain that built the program.
func Go() string { return runtime.Version() }
