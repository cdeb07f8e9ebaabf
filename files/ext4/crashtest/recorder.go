package crashtest

import (
	"sync"
)

// entry is one thing a Recorder saw.
type entry struct {
	off  int64
	data []byte // nil: a flush, or a mark
	mark any    // nil: a write or a flush
}

// Recorder is a storage.Volume that logs its writes and flushes.
type Recorder struct {
	*Image // as it is, nothing lost

	mu     sync.Mutex
	base   *Image // as it was before the first entry
	log    []entry
	writes int
	marks  int
}

// NewRecorder starts recording what is done to the image.
func NewRecorder(m *Image) *Recorder { return &Recorder{Image: m, base: m.Clone()} }

// WriteAt implements storage.Volume.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.Image.WriteAt(p, off)
	if err != nil {
		return n, err
	}
	r.log = append(r.log, entry{off: off, data: append([]byte(nil), p...)})
	r.writes++
	return n, nil
}

// WriteZeroes implements storage.Volume.
func (r *Recorder) WriteZeroes(off, length int64) error {
	_, err := r.WriteAt(make([]byte, length), off)
	return err
}

// Discard implements storage.Volume: the worst a device may do, which is to
// read as something else.
func (r *Recorder) Discard(off, length int64) error {
	p := make([]byte, length)
	for i := range p {
		p[i] = 0xDD
	}
	_, err := r.WriteAt(p, off)
	return err
}

// Flush implements storage.Volume. It takes effect when it is called: a write
// that returns meanwhile is not covered.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, entry{})
	return nil
}

// Mark notes a promise, or anything else that was true from here on: each State
// carries the marks made before its crash.
func (r *Recorder) Mark(mark any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, entry{mark: mark})
	r.marks++
}

// Some is a sweep of about so many prefixes, and as many states after marks, as there are.
func (r *Recorder) Some(n int) Sweep {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Sweep{Every: 1 + r.writes/n, Marks: 1 + r.marks/n}
}

// Writes returns how many writes were recorded.
func (r *Recorder) Writes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes
}
