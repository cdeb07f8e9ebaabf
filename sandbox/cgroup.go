package sandbox

import (
	"errors"
	"syscall"
)

// cgroup is the resource group of one process.
type cgroup struct{}

func newCgroup(uint32, Limits) (*cgroup, error) {
	return nil, errors.New("no cgroup of this host may be divided; see quintet doctor")
}

func (*cgroup) String() string             { return "" }
func (*cgroup) place(*syscall.SysProcAttr) {}
func (*cgroup) adopt(int) error            { return nil }
func (*cgroup) remove()                    {}

// CgroupSupport tells how servers' memory and threads would be limited.
func CgroupSupport() (string, error) {
	_, err := newCgroup(0, Limits{})
	return "", err
}
