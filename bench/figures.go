package bench

import (
	"context"
	"fmt"
)

// figures are what one run of one side measured, by name.
type figures map[string]float64

// measurer is one of the sides that are compared by figures.
type measurer struct {
	name string
	run  func(context.Context) (figures, error)
}

// alternateFigures is alternate for sides that measure several things in a run.
func (o Options) alternateFigures(ctx context.Context, what string, sides []measurer) ([]figures, error) {
	runs := make([]map[string][]float64, len(sides))
	for round := range o.Rounds {
		for i, side := range sides {
			o.say("%s: %s, round %d of %d", what, side.name, round+1, o.Rounds)
			measured, err := side.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", what, side.name, err)
			}
			if runs[i] == nil {
				runs[i] = make(map[string][]float64)
			}
			for name, value := range measured {
				runs[i][name] = append(runs[i][name], value)
			}
		}
	}
	results := make([]figures, len(sides))
	for i, run := range runs {
		results[i] = make(figures)
		for name, values := range run {
			results[i][name] = median(values)
		}
	}
	return results, nil
}
