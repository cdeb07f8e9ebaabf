package sandbox

import (
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	var r Report
	begin := time.Now()
	run(t, newLauncher(t), "report", StorageCalls, nil, &r)
	t.Logf("%v: %v", time.Since(begin), r)
}
