package unix

import (
	"fmt"

	sys "golang.org/x/sys/unix"
)

// PrivateMounts keeps what the process mounts from now on to its own mount namespace.
func PrivateMounts() error {
	if err := sys.Mount("", "/", "", sys.MS_REC|sys.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	return nil
}

// BindFile lets a file stand in the place of another, in the process's own mount
// namespace.
func BindFile(file, at string) error {
	if err := sys.Mount(file, at, "", sys.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s over %s: %w", file, at, err)
	}
	return nil
}
