package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// killsPerRound is how often the server is killed for each round.
const killsPerRound = 40

// takeover: the time from SIGKILL to the first reply of the successor, for an
// application that asks on without knowing of it.
func (s *store) takeover(ctx context.Context) (rows []Row, err error) {
	var took []float64
	err = s.during(ctx, func(running *system) error {
		a, err := running.connect(ctx)
		if err != nil {
			return err
		}
		defer a.Close()
		v, err := a.Volume(ctx, systemVolume)
		if err != nil {
			return err
		}
		buffer, err := v.Buffers().Get(ctx, storageBlockBytes)
		if err != nil {
			return err
		}
		read := func() error {
			_, err := v.ReadBuffer(ctx, buffer, 0, storageBlockBytes, 0)
			return err
		}
		for kill := range killsPerRound * s.Rounds {
			s.say("kill %d of %d", kill+1, killsPerRound*s.Rounds)
			state, err := running.ready(ctx)
			if err != nil {
				return err
			}
			if err := read(); err != nil {
				return err
			}
			server, err := os.FindProcess(state.PID)
			if err != nil {
				return err
			}
			generation, began := v.Inspect().Generation, time.Now()
			if err := server.Kill(); err != nil {
				return fmt.Errorf("kill the server: %w", err)
			}
			for v.Inspect().Generation == generation {
				if err := read(); err != nil {
					return err
				}
			}
			took = append(took, float64(time.Since(began)))
		}
		return v.Close()
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(took)
	c := here()
	c.Note = fmt.Sprintf("%d kills, standby warm", len(took))
	for _, point := range []struct {
		name  string
		index int
	}{{"p50", len(took) / 2}, {"p99", (len(took)*99+99)/100 - 1}, {"max", len(took) - 1}} {
		rows = append(rows, Row{Name: "SIGKILL to first reply of the successor " + point.name, Unit: "ms", Value: took[point.index] / 1e6, Conditions: c})
	}
	return rows, nil
}
