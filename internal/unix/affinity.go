package unix

import (
	"os"

	sys "golang.org/x/sys/unix"
)

// Affinity is a set of processors.
type Affinity struct{ set sys.CPUSet }

// OneCPU returns the set of one processor.
func OneCPU(cpu int) *Affinity {
	a := new(Affinity)
	a.set.Set(cpu)
	return a
}

// ThreadAffinity returns the processors the calling thread may run on.
func ThreadAffinity() (*Affinity, error) {
	a := new(Affinity)
	if err := sys.SchedGetaffinity(0, &a.set); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	return a, nil
}

// CPUs returns the numbers of the processors in the set, in order.
func (a *Affinity) CPUs() []int {
	var cpus []int
	for cpu, left := 0, a.set.Count(); left > 0; cpu++ {
		if a.set.IsSet(cpu) {
			cpus = append(cpus, cpu)
			left--
		}
	}
	return cpus
}

// Set binds the calling thread to the set; the threads and processes it starts
// from then on inherit that. The caller has locked its goroutine to the thread.
func (a *Affinity) Set() error {
	return os.NewSyscallError("sched_setaffinity", sys.SchedSetaffinity(0, &a.set))
}
