package topology

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Load reads and checks a file. The error is of type [Errors] if the content
// is at fault, else what opening or reading failed with.
func Load(path string) (*Topology, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, documentBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	t, err := Parse(path, text)
	if err != nil {
		return nil, err
	}
	t.resolve(filepath.Dir(absolute))
	return t, nil
}

// Parse checks the content of a file, whose name is used in errors only.
// Paths stay as they are written. The error is of type [Errors].
func Parse(file string, text []byte) (*Topology, error) {
	d := &decoder{file: file, granted: map[[2]string]bool{}}
	t := &Topology{File: file, Supervisor: Supervisor{
		HeartbeatTimeout: heartbeatDefault,
		Standby:          true,
		Backoff:          Backoff{First: backoffFirst, Limit: backoffLimit, Reset: backoffReset},
	}}
	if top, ok := d.document(text); ok {
		d.top(t, top)
	}
	for _, check := range d.later {
		check()
	}
	if len(d.errors) > 0 {
		d.errors.sort()
		return nil, d.errors
	}
	return t, nil
}

func (d *decoder) top(t *Topology, n node) {
	version := 1
	// Servers inherit from supervisor, wherever in the file it stands.
	for _, e := range d.entries(node{Node: n.Node, depth: n.depth}) {
		if e.name == "supervisor" {
			(&decoder{}).supervisor(&t.Supervisor)(e.value)
		}
	}
	d.errors = nil
	given := d.fields(n,
		field{"version", d.integer(&version, 1, 1)},
		field{"supervisor", d.supervisor(&t.Supervisor)},
		field{"servers", d.servers(t)},
		field{"volumes", d.volumes(t)},
		field{"networks", d.networks(t)},
		field{"uplinks", d.uplinks(t)},
		field{"applications", d.applications(t)},
		field{"grants", d.grants(t)})
	if n.Kind == yaml.MappingNode && !given["servers"] {
		d.fail(n, "declares no servers")
	}
	d.assignSubnets(t)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// document returns the one document that text must consist of.
func (d *decoder) document(text []byte) (node, bool) {
	if len(text) > documentBytesMax {
		d.fail(node{Node: &yaml.Node{}}, "is larger than %s", FormatSize(documentBytesMax))
		return node{}, false
	}
	reader := yaml.NewDecoder(strings.NewReader(string(text)))
	var first, second yaml.Node
	err := reader.Decode(&first)
	if err == nil {
		if again := reader.Decode(&second); again == nil {
			d.fail(node{Node: &second}, "is a second document; one is allowed")
			return node{}, false
		} else if !errors.Is(again, io.EOF) {
			err = again
		}
	}
	switch {
	case errors.Is(err, io.EOF), err == nil && len(first.Content) == 0:
		d.fail(node{Node: &yaml.Node{}}, "is empty; see docs/quintet.yaml for an example")
		return node{}, false
	case err != nil:
		at, reason := &yaml.Node{}, err.Error()
		if m := yamlLine.FindStringSubmatch(reason); m != nil {
			at.Line, _ = strconv.Atoi(m[1])
			at.Column, reason = 1, m[2]
		}
		d.fail(node{Node: at}, "is not YAML: %s", reason)
		return node{}, false
	}
	return node{Node: first.Content[0]}, true
}
