package ipc

import (
	"fmt"
	"sync"

	"github.com/quintet-os/quintet/internal/unix"
)

// checkHost returns ErrHost if callers could not sleep on this host. It asks the
// kernel once in the life of a process.
var checkHost = sync.OnceValue(func() error { return hostError(unix.FutexWaitvSupported()) })

func hostError(refused error) error {
	if refused == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrHost, refused)
}
