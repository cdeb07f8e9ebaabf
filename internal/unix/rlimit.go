package unix

import sys "golang.org/x/sys/unix"

// Resources that setrlimit(2) limits.
const (
	LimitCore        = sys.RLIMIT_CORE    // bytes
	LimitDescriptors = sys.RLIMIT_NOFILE  // highest descriptor + 1
	LimitLocked      = sys.RLIMIT_MEMLOCK // bytes
	LimitProcesses   = sys.RLIMIT_NPROC   // threads of the user
)

// Unlimited is the value of a limit that does not limit.
const Unlimited = ^uint64(0)

// Limits returns the soft and the hard limit of a resource.
func Limits(resource int) (soft, hard uint64, err error) {
	var l sys.Rlimit
	err = sys.Getrlimit(resource, &l)
	return l.Cur, l.Max, err
}

// SetLimits sets both limits of a resource, for the whole process. Raising
// the hard one needs CAP_SYS_RESOURCE in the initial user namespace.
func SetLimits(resource int, soft, hard uint64) error {
	return sys.Setrlimit(resource, &sys.Rlimit{Cur: soft, Max: hard})
}
