package ipc

import (
	"errors"
	"syscall"
	"testing"
)

// TestHostWithoutFutexWaitv: the error is typed, and says what the kernel said.
func TestHostWithoutFutexWaitv(t *testing.T) {
	before := checkHost
	defer func() { checkHost = before }()
	for _, errno := range []error{syscall.ENOSYS, syscall.EPERM} {
		checkHost = func() error { return hostError(errno) }
		c, err := NewClient(ClientConfig{Geometry: Geometry{Slots: 1}})
		if c != nil || !errors.Is(err, ErrHost) || !errors.Is(err, errno) {
			t.Errorf("%v: a client %v, error %v; want ErrHost", errno, c != nil, err)
		}
	}
	checkHost = before
	if err := checkHost(); err != nil {
		t.Error(err)
	}
}
