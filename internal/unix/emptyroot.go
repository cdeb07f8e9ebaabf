package unix

import (
	"fmt"

	sys "golang.org/x/sys/unix"
)

// EnterEmptyRoot makes an empty, read-only file system of a single directory
// the root and working directory of the process, and detaches everything
// mounted before. It needs a mount namespace of its own with CAP_SYS_ADMIN
// over it.
func EnterEmptyRoot() error {
	if err := PrivateMounts(); err != nil {
		return err
	}
	root, err := emptyFilesystem()
	if err != nil {
		return err
	}
	defer sys.Close(root)
	if err := sys.MoveMount(root, "", sys.AT_FDCWD, "/", sys.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach the empty root: %w", err)
	}
	if err := sys.Fchdir(root); err != nil {
		return fmt.Errorf("go to the empty root: %w", err)
	}
	// With both arguments the same directory, the old root ends up stacked on
	// the new one, where the next call takes it away: pivot_root(2), NOTES.
	if err := sys.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := sys.Unmount(".", sys.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	if err := sys.Chdir("/"); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return nil
}

// emptyFilesystem returns a descriptor of a mounted but not attached tmpfs
// that has room for its root directory only.
func emptyFilesystem() (int, error) {
	fs, err := sys.Fsopen("tmpfs", sys.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open a tmpfs: %w", err)
	}
	defer sys.Close(fs)
	for _, option := range [][2]string{{"size", "4096"}, {"nr_inodes", "1"}, {"mode", "111"}} {
		if err := sys.FsconfigSetString(fs, option[0], option[1]); err != nil {
			return -1, fmt.Errorf("set %s=%s of a tmpfs: %w", option[0], option[1], err)
		}
	}
	if err := sys.FsconfigSetFlag(fs, "ro"); err != nil {
		return -1, fmt.Errorf("make a tmpfs read-only: %w", err)
	}
	if err := sys.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create a tmpfs: %w", err)
	}
	const attributes = sys.MOUNT_ATTR_RDONLY | sys.MOUNT_ATTR_NOSUID | sys.MOUNT_ATTR_NODEV | sys.MOUNT_ATTR_NOEXEC | sys.MOUNT_ATTR_NOSYMFOLLOW
	root, err := sys.Fsmount(fs, sys.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, fmt.Errorf("mount a tmpfs: %w", err)
	}
	return root, nil
}
