package linktest

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/quintet-os/quintet/network/link"
)

// impairedMax bounds the frames that an impaired link holds in one direction; more are
// lost.
const impairedMax = 4096

// Impairment is what a bad cable does to each frame. Chances are from 0 to 1.
type Impairment struct {
	Loss      float64       // that it is lost
	Duplicate float64       // that it comes twice
	Reorder   float64       // that it is held up, so that others overtake it
	HoldUp    time.Duration // by how much, if so
	Delay     time.Duration // of every frame
	Jitter    time.Duration // and at most so much more; the order stays
}

// Impaired is a link behind a bad cable. What happens to a frame depends on the seed
// and on the frames before it only, so in virtual time a run can be repeated.
type Impaired struct {
	link.Link
	now     func() time.Duration
	in, out lane
}

// Impair puts a bad cable before a link: in for what comes in, out for what leaves. The
// link is to be polled. now is the time; it never goes back.
func Impair(l link.Link, in, out Impairment, seed uint64, now func() time.Duration) *Impaired {
	return &Impaired{Link: l, now: now,
		in:  lane{what: in, random: rand.New(rand.NewPCG(seed, 1))},
		out: lane{what: out, random: rand.New(rand.NewPCG(seed, 2))}}
}

// Receive returns the frames that are due, and sends those that are.
func (i *Impaired) Receive(frames []link.Frame) (n int, err error) {
	if err := i.Flush(); err != nil {
		return 0, err
	}
	var arrived [link.BatchMax]link.Frame
	came, err := i.Link.Receive(arrived[:])
	for k := range arrived[:came] {
		i.in.offer(i.now(), &arrived[k])
	}
	for n < min(len(frames), link.BatchMax) {
		f, ok := i.in.take(i.now())
		if !ok {
			break
		}
		frames[n] = f
		n++
	}
	return n, err
}

// Transmit takes all frames, and sends those that are due.
func (i *Impaired) Transmit(frames []link.Frame) (n int, err error) {
	frames = frames[:min(len(frames), link.BatchMax)]
	for k := range frames {
		i.out.offer(i.now(), &frames[k])
	}
	return len(frames), i.Flush()
}

// Flush sends what has become due since.
func (i *Impaired) Flush() error {
	for {
		f, ok := i.out.take(i.now())
		if !ok {
			return nil
		}
		if _, err := i.Link.Transmit([]link.Frame{f}); err != nil {
			return err
		}
	}
}

// Due is when the next frame leaves or comes in; false when none is on its way.
func (i *Impaired) Due() (at time.Duration, ok bool) {
	for _, l := range []*lane{&i.in, &i.out} {
		if len(l.waiting) > 0 && (!ok || l.waiting[0].due < at) {
			at, ok = l.waiting[0].due, true
		}
	}
	return at, ok
}

// Wakeup is -1: time passes without a sign.
func (i *Impaired) Wakeup() int { return -1 }

// lane is one direction.
type lane struct {
	what    Impairment
	random  *rand.Rand
	last    time.Duration // when the last frame that keeps the order is due
	number  uint64
	waiting queue
}

func (l *lane) offer(now time.Duration, f *link.Frame) {
	// The same numbers are drawn for each frame, whatever becomes of it.
	lost, twice, held, jitter := l.random.Float64(), l.random.Float64(), l.random.Float64(), l.random.Float64()
	if lost < l.what.Loss {
		return
	}
	due := now + l.what.Delay + time.Duration(jitter*float64(l.what.Jitter))
	if held < l.what.Reorder {
		due += l.what.HoldUp
	} else {
		due = max(due, l.last)
		l.last = due
	}
	copies := 1
	if twice < l.what.Duplicate {
		copies = 2
	}
	for ; copies > 0 && len(l.waiting) < impairedMax; copies-- {
		l.number++
		heap.Push(&l.waiting, waiting{due: due, number: l.number, frame: clone(f)})
	}
}

func (l *lane) take(now time.Duration) (link.Frame, bool) {
	if len(l.waiting) == 0 || l.waiting[0].due > now {
		return link.Frame{}, false
	}
	return heap.Pop(&l.waiting).(waiting).frame, true
}

type waiting struct {
	due    time.Duration
	number uint64
	frame  link.Frame
}

// queue is a heap: first due first, and in order of arrival.
type queue []waiting

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	return q[i].due < q[j].due || q[i].due == q[j].due && q[i].number < q[j].number
}
func (q *queue) Push(x any) { *q = append(*q, x.(waiting)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = waiting{}
	*q = (*q)[:len(*q)-1]
	return last
}
