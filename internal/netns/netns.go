// Package netns makes network namespaces, and does things inside them.
//
// A namespace has no name: it lives as long as a descriptor or a process refers to
// it, and all its interfaces end with it, however its maker ended. Network
// namespaces belong to threads, so all that happens inside one happens on a thread
// that ends afterwards; no other goroutine ever finds itself there.
package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/quintet-os/quintet/internal/unix"
)

// Namespace is a network namespace. It may be used by any goroutine.
type Namespace struct {
	file *os.File
}

// New makes an empty namespace. It needs CAP_SYS_ADMIN.
func New() (*Namespace, error) {
	n := new(Namespace)
	err := onThread(func() error {
		if err := unix.UnshareNetwork(); err != nil {
			return err
		}
		var err error
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return n, nil
}

// Do calls f inside the namespace. Sockets that f opens belong to it for ever;
// goroutines that f starts are outside.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.EnterNetwork(int(n.file.Fd())); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// Start starts a program inside the namespace.
func (n *Namespace) Start(program *exec.Cmd) error { return n.Do(program.Start) }

// Fd is the descriptor of the namespace, for handing interfaces to it.
func (n *Namespace) Fd() int { return int(n.file.Fd()) }

// Close lets go of the namespace.
func (n *Namespace) Close() error { return n.file.Close() }

// onThread calls f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}
