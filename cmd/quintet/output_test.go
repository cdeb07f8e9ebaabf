package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/supervisor"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain":        "plain",
		"größe 数":      "größe 数",
		"a\x1b[2Jb":    `a\x1b[2Jb`,
		"a\nb\tc":      `a\nb\tc`,
		"\u0085\u202e": `\u0085\u202e`,
		"\xff":         `\xff`,
	} {
		if got := visible(text, ""); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := visible("one\ntwo\x1b", "\n"); got != "one\ntwo\\x1b" {
		t.Errorf("with lines: %q", got)
	}
}

// No string of the state can reach a terminal as it is.
func TestStateIsVisible(t *testing.T) {
	const bad = "x\nforged"
	state := &supervisor.State{
		StateDir:     bad,
		Servers:      []supervisor.ServerState{{Name: bad, Volumes: []string{bad}, LastDeath: bad, Lost: []supervisor.VolumeLoss{{Reason: bad}}}},
		Applications: []supervisor.AppState{{Name: bad}},
		Networks:     []supervisor.NetworkState{{Ports: []supervisor.PortState{{Name: bad, Drops: map[string]uint64{bad: 1}}}}},
	}
	makeVisible(reflect.ValueOf(state))
	if text := fmt.Sprintf("%+v", state); strings.Contains(text, "\n") {
		t.Errorf("%q", text)
	}
}
