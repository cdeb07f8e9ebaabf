package bench

import "github.com/quintet-os/quintet/internal/unix"

// placement says on which processors client and server run.
type placement struct {
	name           string
	client, server int
}

// placements returns those this machine allows: on two processors, on one, and
// wherever the kernel likes.
func placements() (cross, same, free placement, err error) {
	allowed, err := unix.ThreadAffinity()
	if err != nil {
		return
	}
	cpus := allowed.CPUs()
	first, last := cpus[0], cpus[len(cpus)-1]
	cross = placement{"two processors", first, last}
	same = placement{"one processor", first, first}
	free = placement{"unpinned", anyCPU, anyCPU}
	return
}

func (p placement) onTwo() bool { return p.client != p.server }
