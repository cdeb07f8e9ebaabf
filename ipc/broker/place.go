package broker

import (
	"os"
	"path/filepath"
	"strconv"
)

// SocketVariable is the environment variable that names the supervisor's socket.
const SocketVariable = "QUINTET_SOCKET"

// DomainVariable carries the token by which `quintet run` names an application.
const DomainVariable = "QUINTET_DOMAIN"

const socketName = "supervisor.sock"

// DefaultStateDir is /run/quintet for root and $XDG_RUNTIME_DIR/quintet for
// others. Without that variable it is a directory of the user's own in the
// directory for temporary files.
func DefaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/run/quintet"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "quintet")
	}
	return filepath.Join(os.TempDir(), "quintet-"+strconv.Itoa(os.Geteuid()))
}

// SocketPath is the supervisor's socket in a state directory.
func SocketPath(dir string) string { return filepath.Join(dir, socketName) }
