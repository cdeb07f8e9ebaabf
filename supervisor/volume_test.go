package supervisor

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestVolumesThatCannotBe: what no server could serve is refused before there is one,
// with a remedy that helps.
func TestVolumesThatCannotBe(t *testing.T) {
	for _, c := range []struct{ volume, says, not string }{
		{"memory: 100TiB", "more than", ""},
		{"memory: 2TiB", "more than", ""},
		{"device: /dev/no-such-disk", "attach the device", "create"},
		{"file: /no/such/image", "create: true", "attach"},
	} {
		_, err := New(Config{StateDir: filepath.Join(t.TempDir(), "state"), Binary: ownProgram, Topology: parse(t, `version: 1
servers: {store: {kind: storage}}
volumes: {data: {server: store, `+c.volume+`}}
applications: {test: {volumes: {data: rw}}}
`)})
		if err == nil || !strings.Contains(err.Error(), c.says) || c.not != "" && strings.Contains(err.Error(), c.not) {
			t.Errorf("%s: %v", c.volume, err)
		}
	}
}
