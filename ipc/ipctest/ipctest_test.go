package ipctest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	ServeInherited()
	os.Exit(m.Run())
}

func TestHeap(t *testing.T) {
	for _, test := range Tests {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, NewHeap(t, test.Wants())) })
	}
}

func TestTwoProcesses(t *testing.T) {
	for _, test := range Tests {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, NewProcess(t, test.Wants())) })
	}
}
