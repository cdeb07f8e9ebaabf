package client_test

import (
	"net"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/network/client"
)

// Each method of the sockets of package net is there with the same signature, or
// docs/net.md says why it is not.
func TestMethodsOfPackageNet(t *testing.T) {
	page, err := os.ReadFile("../../docs/net.md")
	if err != nil {
		t.Fatal(err)
	}
	_, refused, _ := strings.Cut(string(page), "## Methods that are not there")
	refused, _, _ = strings.Cut(refused, "\n## ")
	for want, got := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[*net.TCPConn]():     reflect.TypeFor[*client.TCPConn](),
		reflect.TypeFor[*net.TCPListener](): reflect.TypeFor[*client.TCPListener](),
		reflect.TypeFor[*net.UDPConn]():     reflect.TypeFor[*client.UDPConn](),
	} {
		for i := range want.NumMethod() {
			m := want.Method(i)
			name := want.Elem().Name() + "." + m.Name
			ours, there := got.MethodByName(m.Name)
			documented := strings.Contains(refused, "`"+name+"`")
			switch {
			case there && documented:
				t.Errorf("%s is there, and docs/net.md says it is not", name)
			case !there && !documented:
				t.Errorf("%s is neither there nor in docs/net.md", name)
			case there && !same(ours.Type, m.Type):
				t.Errorf("%s is %v, want %v", name, ours.Type, m.Type)
			}
		}
	}
	_, used, _ := strings.Cut(string(page), "## How the values of package net are used")
	used, _, _ = strings.Cut(used, "\n## ")
	for _, c := range []reflect.Type{reflect.TypeFor[net.Dialer](), reflect.TypeFor[net.ListenConfig]()} {
		for i := range c.NumField() {
			if f := c.Field(i); f.IsExported() && !strings.Contains(used, "`"+f.Name+"`") {
				t.Errorf("docs/net.md says nothing of %v.%s", c, f.Name)
			}
		}
	}
}

// same tells whether two methods have one signature, but for their own types.
func same(a, b reflect.Type) bool {
	if a.NumIn() != b.NumIn() || a.NumOut() != b.NumOut() {
		return false
	}
	for i := 1; i < a.NumIn(); i++ {
		if a.In(i) != b.In(i) {
			return false
		}
	}
	for i := range a.NumOut() {
		if a.Out(i) != b.Out(i) && !(a.Out(i).Kind() == reflect.Pointer && a.Out(i).Elem().Name() == b.Out(i).Elem().Name()) {
			return false
		}
	}
	return true
}
