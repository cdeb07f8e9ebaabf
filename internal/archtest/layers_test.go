package archtest

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/quintet-os/quintet"

// layer ranks the top directories: a package imports only packages of a lower
// rank, or of its own top directory. Gateways stand above app because a gateway
// is an ordinary client of the servers.
var layer = map[string]int{
	"cmd":        9,
	"test":       8,
	"bench":      8,
	"sim":        7,
	"gateway":    6,
	"app":        5,
	"supervisor": 4,
	"sandbox":    3,
	"files":      2,
	"network":    2,
	"storage":    2,
	"ipc":        1,
	"mpk":        0,
	"internal":   -1,
}

// servers are isolated from one another: of another server a package may know
// the contract and the client, nothing else.
var servers = map[string]bool{"files": true, "network": true, "storage": true}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// listPackages returns the packages of this module and all they depend on.
func listPackages(t *testing.T, goarch string) []goPackage {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports", "./...")
	list.Dir = root(t)
	list.Env = append(list.Environ(), "GOARCH="+goarch, "CGO_ENABLED=0")
	var problems bytes.Buffer
	list.Stderr = &problems
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v\n%s", goarch, err, problems.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatalf("go list for %s: %v", goarch, err)
		}
		packages = append(packages, p)
	}
}

// split returns the top directory of one of our packages and what follows it.
func split(importPath string) (top, rest string, ours bool) {
	path, ours := strings.CutPrefix(importPath, module+"/")
	top, rest, _ = strings.Cut(path, "/")
	return top, rest, ours
}

// forbidden says why a package may not import another, or "" when it may.
func forbidden(importer, imported string) string {
	from, fromRest, ours := split(importer)
	to, toRest, both := split(imported)
	if !ours || !both {
		return ""
	}
	below, known := layer[to]
	if !known {
		return "top directory " + to + " is not in the layout"
	}
	if from == to {
		return sameTop(from, fromRest, toRest)
	}
	if from == "app" && (to == "supervisor" || to == "sandbox") {
		return "what programs import links nothing that runs servers"
	}
	if layer[from] > below {
		return ""
	}
	if servers[from] && servers[to] {
		if toRest == "" || toRest == "client" {
			return ""
		}
		return "servers know each other by contract and client only"
	}
	return "dependencies only point down"
}

// sameTop judges imports inside one top directory.
func sameTop(top, from, to string) string {
	switch {
	case servers[top] && strings.HasPrefix(from, "client") && strings.HasPrefix(to, "server"),
		servers[top] && strings.HasPrefix(from, "server") && strings.HasPrefix(to, "client"):
		return "a client and its server meet only in the contract"
	case servers[top] && from == "":
		return "a contract does not know its implementations"
	case top == "gateway":
		return "gateways are processes of their own"
	}
	return ""
}

func TestDependenciesPointDown(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		checked := 0
		for _, p := range listPackages(t, goarch) {
			top, _, ours := split(p.ImportPath)
			if !ours {
				continue
			}
			checked++
			if _, known := layer[top]; !known {
				t.Errorf("%s: top directory %s is not in the layout", p.ImportPath, top)
			}
			for _, imported := range p.Imports {
				if why := forbidden(p.ImportPath, imported); why != "" {
					t.Errorf("%s: %s imports %s: %s", goarch, p.ImportPath, imported, why)
				}
			}
		}
		if checked == 0 {
			t.Errorf("%s: go list named no package of %s", goarch, module)
		}
	}
}

func TestForbidden(t *testing.T) {
	cases := []struct {
		from, to string
		allowed  bool
	}{
		{"cmd/quintet", "app", true},
		{"app", "supervisor", false},
		{"app", "network/client", true},
		{"ipc", "storage", false},
		{"ipc/broker", "ipc/shm", true},
		{"mpk", "ipc", false},
		{"storage/server", "files", true},
		{"files/server", "storage/client", true},
		{"files/server", "storage/server", false},
		{"storage/client", "storage/server", false},
		{"storage", "storage/server", false},
		{"storage/server", "storage", true},
		{"gateway/nbd", "app", true},
		{"gateway/nbd", "gateway/fuse", false},
		{"supervisor", "app", false},
		{"supervisor", "sandbox", true},
		{"internal/unix", "ipc", false},
		{"sim", "storage/server", true},
		{"sim", "app", true},
		{"storage/server", "sim", false},
		{"app", "sidecar", false},
	}
	for _, c := range cases {
		why := forbidden(module+"/"+c.from, module+"/"+c.to)
		if (why == "") != c.allowed {
			t.Errorf("%s imports %s: got %q, want allowed=%v", c.from, c.to, why, c.allowed)
		}
	}
}

// TestNotLinked: what a package must not bring into the programs that import it, by
// whatever way.
func TestNotLinked(t *testing.T) {
	for from, parts := range map[string][]string{
		"app":         {module + "/supervisor", module + "/sandbox", module + "/internal/unix/uring", "github.com/cilium/ebpf"},
		"gateway/tap": {"gvisor.dev/gvisor"}, // it passes frames on
	} {
		list := exec.Command("go", "list", "-deps", "./"+from)
		list.Dir = root(t)
		out, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, linked := range strings.Fields(string(out)) {
			for _, part := range parts {
				if linked == part || strings.HasPrefix(linked, part+"/") {
					t.Errorf("%s links %s", from, linked)
				}
			}
		}
	}
}
