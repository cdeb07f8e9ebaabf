package sandbox

import "strings"

// State tells how far a measure is in force.
type State string

const (
	Applied  State = "applied"
	Degraded State = "degraded" // not in force, or not all of it
)

// Measure is one of the measures listed in the package comment.
type Measure struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"` // what was applied, or why it was not
}

// Report lists every measure taken of one server, in order.
type Report []Measure

func (r *Report) add(name, detail string, err error) {
	m := Measure{Name: name, State: Applied, Detail: detail}
	if err != nil {
		m.State, m.Detail = Degraded, err.Error()
	}
	*r = append(*r, m)
}

// Degraded returns the measures that are not fully in force.
func (r Report) Degraded() []Measure {
	var weak []Measure
	for _, m := range r {
		if m.State != Applied {
			weak = append(weak, m)
		}
	}
	return weak
}

// String is one line for a log.
func (r Report) String() string {
	var b strings.Builder
	for i, m := range r {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(m.Name + " " + string(m.State))
		if m.State != Applied {
			b.WriteString(" (" + m.Detail + ")")
		}
	}
	return b.String()
}
