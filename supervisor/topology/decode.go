package topology

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// decoder walks the nodes of a document, which know where they stand, and
// collects errors.
type decoder struct {
	file    string
	errors  Errors
	later   []func() // checks of references, once all is declared
	granted map[[2]string]bool
	// subnetsAt is where the subnets of Topology.Networks stand, by the same index.
	subnetsAt []subnetsAt
}

// node is a place in the document.
type node struct {
	*yaml.Node
	key   string // dotted path from the top
	depth int
}

func (d *decoder) fail(n node, format string, arguments ...any) {
	if len(d.errors) < errorsMax {
		d.errors = append(d.errors, &Error{File: d.file, Line: n.Line, Column: n.Column, Key: n.key, Reason: fmt.Sprintf(format, arguments...)})
	}
}

// entry is one key of a mapping and its value.
type entry struct {
	name  string
	value node
}

// entries returns the entries of a mapping, each key once.
func (d *decoder) entries(n node) []entry {
	if n.depth > depthMax {
		d.fail(n, "nested more than %d deep", depthMax)
		return nil
	}
	if n.Kind != yaml.MappingNode {
		if !isNull(n) { // a section left empty
			d.fail(n, "is %s, want a mapping (key: value)", kindOf(n))
		}
		return nil
	}
	var all []entry
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		child := node{Node: value, key: join(n.key, key.Value), depth: n.depth + 1}
		at := node{Node: key, key: child.key}
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str":
			at.key = n.key
			d.fail(at, "the key is %s, want a name", kindOf(at))
			continue
		case key.Value == "":
			d.fail(at, "the key is empty")
			continue
		case lines[key.Value] != 0:
			d.fail(at, "is given twice, first in line %d", lines[key.Value])
			continue
		case len(all) == declarationsMax:
			d.fail(at, "one too many: a section holds %d entries at most", declarationsMax)
			return all
		}
		lines[key.Value] = key.Line
		for child.Kind == yaml.AliasNode {
			child.Node = child.Alias
		}
		all = append(all, entry{key.Value, child})
	}
	return all
}

// field is a key that a mapping may have, and what to do with its value.
type field struct {
	name   string
	decode func(node)
}

// fields decodes a mapping with known keys and reports which were there.
func (d *decoder) fields(n node, known ...field) map[string]bool {
	present := map[string]bool{}
	for _, e := range d.entries(n) {
		i := slices.IndexFunc(known, func(f field) bool { return f.name == e.name })
		if i < 0 {
			names := make([]string, len(known))
			for j, f := range known {
				names[j] = f.name
			}
			d.fail(e.value, "unknown key; %s", allowed(e.name, names))
			continue
		}
		present[e.name] = true
		known[i].decode(e.value)
	}
	return present
}

// named decodes a section whose keys are names given by the user.
func (d *decoder) named(n node, what string, decode func(name string, value node)) {
	for _, e := range d.entries(n) {
		if d.checkName(e.value, what, e.name) {
			decode(e.name, e.value)
		}
	}
}

// list returns the items of a sequence.
func (d *decoder) list(n node) []node {
	if n.Kind != yaml.SequenceNode {
		if !isNull(n) {
			d.fail(n, "is %s, want a list (- item)", kindOf(n))
		}
		return nil
	}
	if len(n.Content) > declarationsMax {
		d.fail(n, "has %d items, at most %d are allowed", len(n.Content), declarationsMax)
		return nil
	}
	items := make([]node, len(n.Content))
	for i, content := range n.Content {
		for content.Kind == yaml.AliasNode {
			content = content.Alias
		}
		items[i] = node{Node: content, key: fmt.Sprintf("%s[%d]", n.key, i), depth: n.depth + 1}
	}
	return items
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func isNull(n node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func kindOf(n node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if isNull(n) {
		return "empty"
	}
	return fmt.Sprintf("%.40q", n.Value)
}
