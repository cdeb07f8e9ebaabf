package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// fioVersion is empty when fio is missing.
func fioVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "fio", "--version").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// runFio reads or writes 4 KiB blocks at random places of an existing file, with
// io_uring and O_DIRECT.
func runFio(ctx context.Context, file string, write bool, depth int, d time.Duration) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, d+sideGrace)
	defer cancel()
	pattern := "randread"
	if write {
		pattern = "randwrite"
	}
	out, err := exec.CommandContext(ctx, "fio", "--name=bench", "--filename="+file, "--rw="+pattern,
		"--bs="+strconv.Itoa(storageBlockBytes), "--direct=1", "--ioengine=io_uring", "--iodepth="+strconv.Itoa(depth),
		"--time_based", fmt.Sprintf("--runtime=%dms", d.Milliseconds()), "--norandommap",
		// From the submission on: fio's usual latency begins when the kernel has taken the request.
		"--lat_percentiles=1", "--clat_percentiles=0", "--output-format=json").Output()
	if err != nil {
		return Result{}, fmt.Errorf("fio: %w", err)
	}
	return parseFio(out, write)
}

// fioStream is what fio reports of reads or of writes.
type fioStream struct {
	IOPS    float64 `json:"iops"`
	Total   int     `json:"total_ios"`
	Latency struct {
		Percentile map[string]float64 `json:"percentile"`
	} `json:"lat_ns"`
}

func parseFio(text []byte, write bool) (Result, error) {
	var report struct {
		Jobs []struct {
			Error       int `json:"error"`
			Read, Write fioStream
		} `json:"jobs"`
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return Result{}, fmt.Errorf("fio's report: %w", err)
	}
	if len(report.Jobs) != 1 || report.Jobs[0].Error != 0 {
		return Result{}, fmt.Errorf("fio reports %d jobs, want one without error", len(report.Jobs))
	}
	stream := report.Jobs[0].Read
	if write {
		stream = report.Jobs[0].Write
	}
	at := stream.Latency.Percentile
	return Result{P50: at["50.000000"], P99: at["99.000000"], P999: at["99.900000"], PerSecond: stream.IOPS, Requests: stream.Total}, nil
}
