package unix

import (
	"time"

	sys "golang.org/x/sys/unix"
)

// Suspended is for how long the machine has been suspended since it was started: the time
// by which the clocks of this process are behind. It is right to some milliseconds, and 0
// where the kernel does not tell.
func Suspended() time.Duration {
	var awake, all sys.Timespec
	if sys.ClockGettime(sys.CLOCK_MONOTONIC, &awake) != nil || sys.ClockGettime(sys.CLOCK_BOOTTIME, &all) != nil {
		return 0
	}
	return time.Duration(all.Nano() - awake.Nano())
}
