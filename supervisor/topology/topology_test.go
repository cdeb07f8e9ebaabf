package topology

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestExampleIsComplete(t *testing.T) {
	got, err := Load("../../docs/quintet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	standard := Limits{Requests: 128, Bytes: 64 << 20}
	want := &Topology{
		File:       "../../docs/quintet.yaml",
		Supervisor: Supervisor{2 * time.Second, true, Backoff{10 * time.Millisecond, 5 * time.Second, 10 * time.Second}},
		Servers:    []Server{{Name: "store", Kind: Storage, Memory: 512 << 20, Standby: true}, {Name: "net", Kind: Switch, Standby: true}},
		Volumes: []Volume{
			{Name: "data", Server: "store", Backing: File, Path: docs + "/data.img", Size: 1 << 30, Create: true, BlockSize: 4096},
			{Name: "scratch", Server: "store", Backing: Memory, Size: 64 << 20, BlockSize: 4096},
			{Name: "archive", Server: "store", Backing: Device, Path: "/dev/loop7", ReadOnly: true, BlockSize: 4096},
		},
		Applications: []Application{
			{Name: "importer", UID: 0, Command: []string{"importer", "--all"}, Directory: docs,
				Environment: map[string]string{"LANG": "C.UTF-8"}, Memory: 256 << 20},
			{Name: "reader", UID: AnyUser},
			{Name: "web", UID: SupervisorUser},
		},
		Grants: []Grant{
			{"importer", "data", ReadWrite, standard},
			{"importer", "archive", ReadOnly, standard},
			{"reader", "data", ReadOnly, Limits{16, 4 << 20}},
		},
		Networks: exampleNetworks, Uplinks: exampleUplinks, Ports: examplePorts,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if g, ok := got.Grant("reader", "data"); !ok || g.Access != ReadOnly {
		t.Errorf("grant of data to reader: %+v, %v", g, ok)
	}
	if _, ok := got.Grant("reader", "scratch"); ok {
		t.Error("scratch is granted to reader, and nobody said so")
	}
}

func TestSupervisorSettingsReachServersDeclaredBefore(t *testing.T) {
	got, err := Parse("t", []byte("servers: {a: {kind: storage}, b: {kind: storage, standby: true}}\nsupervisor: {standby: false}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Servers[0].Standby || !got.Servers[1].Standby {
		t.Errorf("standby of a, b: %v, %v; want false, true", got.Servers[0].Standby, got.Servers[1].Standby)
	}
}

const sound = "servers: {store: {kind: storage}}\n"

func TestErrorsNameLineColumnKeyAndRemedy(t *testing.T) {
	const volume = sound + "volumes:\n  data: {server: store, "
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "q.yaml: is empty; see docs/quintet.yaml for an example"},
		{"comment only", "# nothing\n", "q.yaml: is empty"},
		{"not YAML", "servers:\n\t- x\n", "q.yaml:2:1: is not YAML: found character that cannot start any token"},
		{"two documents", sound + "---\na: b\n", "is a second document"},
		{"a list", "- servers\n", `q.yaml:1:1: is a list, want a mapping`},
		{"no servers", "version: 1\n", "declares no servers"},
		{"version", "version: 2\n" + sound, "q.yaml:1:10: version: is \"2\"; allowed: a whole number from 1 to 1"},
		{"misspelt key", "severs: {}\n" + sound, `q.yaml:1:9: severs: unknown key; did you mean "servers"? (allowed: version, supervisor, servers,`},
		{"nothing alike", "zzz: 1\n" + sound, `q.yaml:1:6: zzz: unknown key; allowed: version,`},
		{"twice", sound + sound, "q.yaml:2:1: servers: is given twice, first in line 1"},
		{"merge key", "servers:\n  <<: {}\n  store: {kind: storage}\n", `q.yaml:2:3: servers: the key is "<<", want a name`},
		{"kind", "servers:\n  store: {kind: storge}\n", `q.yaml:2:17: servers.store.kind: is "storge"; did you mean "storage"? (allowed: storage, network)`},
		{"no kind", "servers:\n  store: {}\n", "q.yaml:2:10: servers.store: has no kind; allowed: storage, network"},
		{"name", "servers:\n  Store: {kind: storage}\n", `servers.Store: "Store" is no name of a server`},
		{"boolean", sound + "supervisor: {standby: 1}\n", `q.yaml:2:23: supervisor.standby: is "1"; allowed: true, false`},
		{"duration without unit", sound + "supervisor: {heartbeat_timeout: 5}\n", `supervisor.heartbeat_timeout: is "5"; allowed: a duration from 1s to 1h0m0s, such as`},
		{"duration too short", sound + "supervisor: {heartbeat_timeout: 1ms}\n", `is "1ms"; allowed: a duration from 1s`},
		{"back-off", sound + "supervisor:\n  backoff: {first: 2s, limit: 1s}\n", "q.yaml:3:12: supervisor.backoff: first (2s) is longer than limit (1s)"},
		{"unknown server", sound + "volumes:\n  data: {server: stroe, file: x}\n", `q.yaml:3:18: volumes.data.server: no server is called "stroe"; did you mean "store"? (allowed: store)`},
		{"no server", sound + "volumes:\n  data: {file: x}\n", "q.yaml:3:9: volumes.data: has no server"},
		{"no backing", volume + "size: 1MiB}\n", "volumes.data: is stored nowhere; give one of file, device, memory"},
		{"two backings", volume + "file: x, device: y}\n", "q.yaml:3:42: volumes.data.device: the volume has a file already; give one of file, device, memory"},
		{"decimal size", volume + "file: x, size: 1GB}\n", `volumes.data.size: is "1GB"; allowed: bytes, or a number with KiB, MiB, GiB or TiB`},
		{"negative size", volume + "file: x, size: -1}\n", `volumes.data.size: is "-1"; allowed`},
		{"size beyond 63 bits", volume + "file: x, size: 9999999TiB}\n", `is "9999999TiB"; allowed`},
		{"small size", volume + "file: x, size: 100}\n", `is "100", less than the least allowed, 512B`},
		{"crooked size", volume + "file: x, size: 6KiB}\n", "its size 6KiB is not a multiple of its block_size 4KiB"},
		{"block size", volume + "file: x, block_size: 3KiB}\n", "block_size is 3KiB; allowed: a power of two from 512B to 64KiB"},
		{"create without size", volume + "file: x, create: true}\n", "create needs a size"},
		{"create a device", volume + "device: x, size: 1MiB, create: true}\n", "create is for files; this is a device"},
		{"memory and size", volume + "memory: 1MiB, size: 2MiB}\n", "has both memory and size"},
		{"read-only memory", volume + "memory: 1MiB, read_only: true}\n", "is read_only, but nothing is in it yet"},
		{"access", volume + "file: x}\napplications:\n  app:\n    volumes:\n      data: wr\n", `q.yaml:7:13: applications.app.volumes.data: is "wr"; did you mean "rw"? (allowed: ro, rw)`},
		{"unknown volume", sound + "applications: {app: {volumes: {data: rw}}}\n", `no volume is called "data"; none is declared`},
		{"user", sound + "applications: {app: {user: no-such-user-here}}\n", `applications.app.user: this host has no user "no-such-user-here"`},
		{"user's form", sound + "applications: {app: {user: [a]}}\n", `applications.app.user: is a list; allowed: the name or number of a user`},
		{"requests", sound + "applications: {app: {limits: {requests: 513}}}\n", `is "513"; allowed: a whole number from 1 to 512`},
		{"command", sound + "applications: {app: {command: ls -l}}\n", `applications.app.command: is "ls -l", want a list (- item)`},
		{"environment", sound + "applications: {app: {environment: {a-b: c}}}\n", `applications.app.environment.a-b: is no name of a variable`},
		{"granted twice", volume + "file: x}\napplications: {app: {volumes: {data: ro}}}\ngrants: [{to: app, volume: data, access: rw}]\n", `q.yaml:5:10: grants[0]: volume "data" is granted to "app" twice`},
		{"grant lacks", volume + "file: x}\ngrants: [{volume: data}]\n", "grants[0]: has no to"},
		{"grant to nobody", volume + "file: x}\ngrants: [{to: stor, volume: data, access: rw}]\n", `grants[0].to: no application or server is called "stor"; did you mean "store"?`},
		{"write to read-only", volume + "file: x, read_only: true}\napplications: {app: {volumes: {data: rw}}}\n", `grants rw, but volume "data" is read_only`},
		{"limit below a block", volume + "file: x}\napplications: {app: {limits: {bytes: 512}, volumes: {data: rw}}}\n", `its limit of 512B in flight is less than one block of volume "data", 4KiB`},
		{"alias of itself", "servers: &a\n  store: {kind: storage}\n  more: *a\n", "unknown key"},
		{"too large", strings.Repeat("#", documentBytesMax+1), "is larger than 1MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("q.yaml", []byte(c.text))
			var all Errors
			if !errors.As(err, &all) {
				t.Fatalf("error %v, want Errors", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant it to contain\n%s", err, c.want)
			}
		})
	}
}

func TestAllErrorsAreReportedInOrder(t *testing.T) {
	_, err := Parse("q.yaml", []byte(`supervisor: {standbye: true}
servers:
  store: {kind: block}
volumes:
  data: {server: shop, file: a, file: b}
`))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	var lines []int
	for _, e := range all {
		lines = append(lines, e.Line)
	}
	if want := []int{1, 3, 5, 5}; !reflect.DeepEqual(lines, want) {
		t.Errorf("errors in lines %v, want %v:\n%v", lines, want, err)
	}
}

func TestLoadNamesAMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want os.ErrNotExist", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "512": 512, "1B": 1, "4KiB": 4096, "4 KiB": 4096, "3TiB": 3 << 40} {
		if got, ok := ParseSize(text); !ok || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "KiB", "1.5MiB", "+1", "0x10", "1kb", "1e3", "9223372036854775808", "8388608TiB"} {
		if got, ok := ParseSize(text); ok {
			t.Errorf("ParseSize(%q) = %d, want it refused", text, got)
		}
	}
	for _, bytes := range []int64{1, 512, 1000, 1024, 1536, 1 << 30, 1<<40 + 1} {
		if got, ok := ParseSize(FormatSize(bytes)); !ok || got != bytes {
			t.Errorf("%d is written %s and read %d", bytes, FormatSize(bytes), got)
		}
	}
}
