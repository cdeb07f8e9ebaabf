package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Conditions says what a row was measured on and how.
type Conditions struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	// Load is the load average over one minute before the benchmark began.
	Load string `json:"load"`
	// Placement says on which processors the two sides ran.
	Placement string `json:"placement,omitempty"`
	// Waiting is "spinning" or "sleeping".
	Waiting string `json:"waiting,omitempty"`
	// DMALatency is the limit in /dev/cpu_dma_latency, "0 us" or "default".
	DMALatency string `json:"dma_latency,omitempty"`
	// Rounds is how often both sides ran, in turn.
	Rounds int `json:"rounds,omitempty"`
	// Note is whatever else the reader must know.
	Note string `json:"note,omitempty"`
}

// here returns the conditions that this machine sets.
func here() Conditions {
	return Conditions{
		CPU:    cpuModel(),
		Cores:  runtime.NumCPU(),
		Kernel: firstField("/proc/sys/kernel/osrelease"),
		Go:     runtime.Version(),
		Load:   firstField("/proc/loadavg"),
	}
}

func (c Conditions) machine() string {
	return fmt.Sprintf("%s, %d processors, Linux %s, %s, load average %s at the start", c.CPU, c.Cores, c.Kernel, c.Go, c.Load)
}

func (c Conditions) run() string {
	var parts []string
	for _, part := range []string{c.Waiting, c.Placement} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if c.DMALatency != "" {
		parts = append(parts, "dma latency "+c.DMALatency)
	}
	if c.Note != "" {
		parts = append(parts, c.Note)
	}
	return strings.Join(parts, ", ")
}

// cpuModel returns the first model name of /proc/cpuinfo; arm64 has none there.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func firstField(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	field, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return field
}
