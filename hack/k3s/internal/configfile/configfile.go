// Package configfile turns k3s's configuration file and its drop-in directory into
// command-line flags, as k3s does: they are put right after the sub-command, so that
// flags on the real command line come later and win, or, for lists, are appended.
package configfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// Parser knows where the configuration is named and which commands read it.
type Parser struct {
	Commands []string // sub-commands that read the file
	Flags    []string // flags that name the file
	Env      string   // environment variable that names the file; it wins over the flag
	Default  string   // used when neither is given; need not exist
	// Valid holds the flags of each command; others in the file are skipped with a warning,
	// so that one file can serve servers and agents.
	Valid map[string]map[string]bool
	Warn  func(format string, args ...any)
}

// Expand returns args with the flags from the configuration file put in.
func (p *Parser) Expand(args []string) ([]string, error) {
	at := p.command(args)
	if at < 0 {
		return args, nil
	}
	file := p.file(args)
	if file == "" {
		return args, nil
	}
	flags, err := read(file)
	if os.IsNotExist(err) {
		return args, nil // k3s too goes on when the file that was named does not exist
	}
	if err != nil {
		return nil, err
	}
	flags = p.known(args[at], flags)
	out := append([]string{}, args[:at+1]...)
	out = append(out, flags...)
	return append(out, args[at+1:]...), nil
}

func (p *Parser) command(args []string) int {
	for i, arg := range args {
		for _, c := range p.Commands {
			if arg == c {
				return i
			}
		}
	}
	return -1
}

func (p *Parser) file(args []string) string {
	if v := os.Getenv(p.Env); p.Env != "" && v != "" {
		return v
	}
	for i, arg := range args {
		for _, name := range p.Flags {
			if arg == name {
				if i+1 < len(args) {
					return args[i+1]
				}
				return "" // the flag parser reports the missing value
			}
			if v, ok := strings.CutPrefix(arg, name+"="); ok {
				return v
			}
		}
	}
	return p.Default
}

func (p *Parser) known(command string, flags []string) []string {
	valid := p.Valid[command]
	if valid == nil {
		return flags
	}
	var out []string
	for _, f := range flags {
		name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
		if valid[name] {
			out = append(out, f)
		} else if p.Warn != nil {
			p.Warn("Unknown flag --%s found in config.yaml, skipping\n", name)
		}
	}
	return out
}

// read merges the file with the drop-ins beside it: a later file's key replaces an
// earlier one's, and a key that ends in "+" is appended to it.
func read(file string) ([]string, error) {
	files, err := dropIns(file)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(file); err == nil {
		files = append([]string{file}, files...)
	} else if !os.IsNotExist(err) || len(files) == 0 {
		return nil, err
	}

	var order []string
	values := map[string][]string{}
	for _, f := range files {
		if err := merge(f, &order, values); err != nil {
			return nil, err
		}
	}
	var flags []string
	for _, key := range order {
		dashes := "--"
		if len(key) == 1 {
			dashes = "-"
		}
		for _, v := range values[key] {
			flags = append(flags, dashes+key+"="+v)
		}
	}
	return flags, nil
}

func merge(file string, order *[]string, values map[string][]string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("failed to parse config file %s: %w", file, err)
	}
	if len(doc.Content) == 0 {
		return nil // empty
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("failed to parse config file %s: want key: value lines", file)
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, add := strings.CutSuffix(root.Content[i].Value, "+")
		value := scalars(root.Content[i+1])
		if _, seen := values[key]; !seen {
			*order = append(*order, key)
		} else if add {
			value = append(values[key], value...)
		}
		values[key] = value
	}
	return nil
}

// scalars lists a value's elements; a plain value is a list of one.
func scalars(n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode {
		if n.Tag == "!!null" {
			return []string{""}
		}
		return []string{n.Value}
	}
	out := []string{}
	for _, c := range n.Content {
		out = append(out, c.Value)
	}
	return out
}

func dropIns(file string) ([]string, error) {
	entries, err := os.ReadDir(file + ".d") // sorted by name
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			out = append(out, filepath.Join(file+".d", e.Name()))
		}
	}
	return out, nil
}
