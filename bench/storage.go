package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/quintet-os/quintet/app"
	"github.com/quintet-os/quintet/ipc/broker"
)

const (
	storageFileBytes  = 256 << 20
	storageBlockBytes = 4 << 10
	storageDepthMax   = 32
)

// store is one run of the storage benchmarks.
type store struct {
	Options
	dir, file string
}

// Storage measures a volume on a file in Options.Dir beside fio on the same file,
// and the system as a whole: how soon a successor answers after a kill, and what
// the system costs at rest. Without fio the comparison is left out, and Progress
// is told so. The calling program must offer `quintet up` and `quintet ps`.
func Storage(ctx context.Context, o Options) (rows []Row, err error) {
	s := &store{Options: o.withDefaults()}
	if s.dir, err = os.MkdirTemp(o.Dir, "quintet-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	s.file = filepath.Join(s.dir, "volume")
	if err := fillFile(s.file, storageFileBytes); err != nil {
		return nil, err
	}
	return s.run(ctx, []part{{"random", s.random}, {"takeover", s.takeover}, {"idle", s.idle}, {"memory", s.memory}})
}

// fillFile makes a file without holes, so that no write allocates.
func fillFile(path string, size int) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	piece := make([]byte, 1<<20)
	for range size / len(piece) {
		for i := range piece {
			piece[i] = byte(i*7 + 1)
		}
		if _, err := file.Write(piece); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return errors.Join(file.Sync(), file.Close())
}

// during runs f while a system is up.
func (s *store) during(ctx context.Context, f func(*system) error) error {
	dir, err := os.MkdirTemp(s.dir, "system-")
	if err != nil {
		return err
	}
	running, err := startStore(ctx, dir, s.file)
	if err != nil {
		return err
	}
	return errors.Join(f(running), running.stop())
}

// random: 4 KiB reads and writes at random places, without a copy, one and 32 at
// a time. The system is down while fio runs, and up while it does not.
func (s *store) random(ctx context.Context) (rows []Row, err error) {
	hasFio := fioVersion(ctx) != ""
	if !hasFio {
		s.say("left out: the comparison with fio, which is missing (Debian: apt-get install fio)")
	}
	for _, write := range []bool{false, true} {
		for _, depth := range []int{1, storageDepthMax} {
			verb := map[bool]string{false: "read", true: "write"}[write]
			name := fmt.Sprintf("4 KiB random %s, %d at a time", verb, depth)
			contenders := []contender{{"quintet", func(ctx context.Context) (Result, error) { return s.volume(ctx, write, depth) }}}
			if hasFio {
				contenders = append(contenders, contender{"fio", func(ctx context.Context) (Result, error) {
					return runFio(ctx, s.file, write, depth, s.Duration)
				}})
			}
			results, err := s.alternate(ctx, name, contenders...)
			if err != nil {
				return rows, err
			}
			c := here()
			c.Rounds, c.Note = s.Rounds, "O_DIRECT, buffers granted, "+s.dir
			if !hasFio {
				rows = append(rows, Row{Name: name, Unit: "1/s", Value: results[0].PerSecond, Conditions: c})
				continue
			}
			rows = append(rows, compared(name, "1/s", results[0].PerSecond, "fio io_uring O_DIRECT", results[1].PerSecond, c))
			if depth == 1 {
				rows = append(rows, compared(name+", p50", "ns", results[0].P50, "fio io_uring O_DIRECT", results[1].P50, c),
					compared(name+", p99", "ns", results[0].P99, "fio io_uring O_DIRECT", results[1].P99, c))
			}
		}
	}
	return rows, nil
}

// volume measures a client process against a volume of a fresh system.
func (s *store) volume(ctx context.Context, write bool, depth int) (result Result, err error) {
	err = s.during(ctx, func(running *system) error {
		ctx, cancel := context.WithTimeout(ctx, s.Duration+sideGrace)
		defer cancel()
		side, err := startSide(ctx, "volume", task{Duration: s.Duration, Callers: depth, Write: write, Socket: broker.SocketPath(running.dir)}, anyCPU)
		if err != nil {
			return err
		}
		return side.result(&result)
	})
	return result, err
}

// useVolume reads or writes blocks at random places from t.Callers goroutines,
// each in a granted buffer of its own.
func useVolume(t task) (any, error) {
	ctx := context.Background()
	a, err := app.Connect(ctx, app.WithSocket(t.Socket), app.WithName("bench"))
	if err != nil {
		return nil, err
	}
	defer a.Close()
	v, err := a.Volume(ctx, systemVolume)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	worker := func(seed int) (func() error, error) {
		buffer, err := v.Buffers().Get(ctx, storageBlockBytes)
		if err != nil {
			return nil, err
		}
		random := rand.New(rand.NewPCG(uint64(seed), storageFileBytes))
		blocks := v.Size() / storageBlockBytes
		return func() error {
			off := random.Int64N(blocks) * storageBlockBytes
			if t.Write {
				_, err = v.WriteBuffer(ctx, buffer, 0, storageBlockBytes, off, 0)
			} else {
				_, err = v.ReadBuffer(ctx, buffer, 0, storageBlockBytes, off)
			}
			return err
		}, nil
	}
	if t.Callers == 1 {
		once, err := worker(1)
		if err != nil {
			return nil, err
		}
		return timeRoundTrips(t.Duration, once)
	}
	seeds := make(chan int, t.Callers)
	for seed := range t.Callers {
		seeds <- seed
	}
	return countCalls(t, func(stop func() bool) (n int, err error) {
		once, err := worker(<-seeds)
		for ; err == nil && !stop(); n++ {
			err = once()
		}
		return n, err
	})
}
