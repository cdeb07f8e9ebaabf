package model

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/quintet-os/quintet/internal/testenv"
)

// panDepthMax bounds a run of the model, panMegabytes the memory of a search.
const (
	panDepthMax  = "10000"
	panMegabytes = "2000"
)

type variant struct {
	model   string
	defines string
	// fails is what SPIN must report; empty means that the model must hold.
	fails string
	// cycles searches for infinite runs instead of end states and assertions.
	cycles bool
	// long variants run with QUINTET_LONG=1 only.
	long bool
}

const (
	stuck  = "invalid end state"
	broken = "assertion violated"
	spins  = "non-progress cycle"
)

var variants = []variant{
	{model: "sleep.pml"},
	{model: "sleep.pml", defines: "THREADS=2 REQUESTS=1 DEATHS=0"},
	{model: "sleep.pml", defines: "DEATHS=0", cycles: true},
	{model: "sleep.pml", cycles: true, long: true},
	{model: "sleep.pml", defines: "DEATHS=2 REQUESTS=1", long: true},
	{model: "sleep.pml", defines: "DEATHS=0 SERVER_SPINS", cycles: true, fails: spins},
	{model: "sleep.pml", defines: "CLIENT_FLAG_BEFORE_PUBLISH", fails: stuck},
	{model: "sleep.pml", defines: "CLIENT_NO_SECOND_LOOK", fails: stuck},
	{model: "sleep.pml", defines: "SERVER_FLAG_BEFORE_REPLY", fails: stuck},
	{model: "sleep.pml", defines: "SERVER_NO_SECOND_LOOK", fails: stuck},
	{model: "sleep.pml", defines: "WAIT_WITHOUT_COMPARING", fails: stuck},
	{model: "sleep.pml", defines: "WAKE_BEFORE_BELL", fails: stuck},
	{model: "sleep.pml", defines: "NO_RING_ON_RECOVERY", fails: stuck},
	{model: "sleep.pml", defines: "EPOCH_RESTARTS", fails: stuck},

	{model: "slots.pml"},
	{model: "slots.pml", defines: "KILLER"},
	{model: "slots.pml", defines: "DEATHS=0", cycles: true},
	{model: "slots.pml", cycles: true, long: true},
	{model: "slots.pml", defines: "DEATHS=2", long: true},
	{model: "slots.pml", defines: "CLIENT_DEATHS=1 DEATHS=0"},
	{model: "slots.pml", defines: "CLIENT_DEATHS=2 DEATHS=0", long: true},
	{model: "slots.pml", defines: "CLIENT_DEATHS=1", long: true},
	// The look at every slot gives a successor its order, not its completeness:
	// the parities of the replies are what makes it miss nothing.
	{model: "slots.pml", defines: "NO_LOOK_AT_EVERY_SLOT"},
	{model: "slots.pml", defines: "SEQ_BEFORE_RECORD", fails: broken},
	{model: "slots.pml", defines: "REPLY_SEQ_BEFORE_RECORD", fails: broken},
	{model: "slots.pml", defines: "FLIP_ON_HINTS", fails: stuck},
	{model: "slots.pml", defines: "DONE_BIT_IS_TRUTH", fails: broken},
	{model: "slots.pml", defines: "DONE_BITS_NOT_RESTORED", fails: "(" + stuck + "|" + broken + ")"},
	{model: "slots.pml", defines: "PARITY_FROM_BITS", fails: stuck},
	{model: "slots.pml", defines: "PARITY_FROM_REQUESTS NO_LOOK_AT_EVERY_SLOT", fails: stuck},
	{model: "slots.pml", defines: "RESUME_AFTER_TAKEN", fails: stuck},
	{model: "slots.pml", defines: "KILLER DEATH_NOT_COUNTED", fails: broken},
	{model: "slots.pml", defines: "DEATHS=2 ATTEMPTS_WITHOUT_SEQ", fails: broken},
	{model: "slots.pml", defines: "CLIENT_DEATHS=1 DEATHS=0 SUBMIT_BITS_NOT_STORED", fails: "(" + stuck + "|" + broken + ")"},
	{model: "slots.pml", defines: "CLIENT_DEATHS=1 DEATHS=0 TOGGLE_AT_TAKEOVER", fails: broken},
	{model: "slots.pml", defines: "CLIENT_DEATHS=1 DEATHS=0 SEQ_FROM_REPLIES", fails: "(" + stuck + "|" + broken + ")"},

	{model: "handover.pml"},
	{model: "handover.pml", defines: "SPIN"},
	{model: "handover.pml", defines: "APART"},
	{model: "handover.pml", defines: "APART SPIN"},
	{model: "handover.pml", defines: "APART PATIENT SPIN"},
	{model: "handover.pml", defines: "CANCEL"},
	{model: "handover.pml", defines: "CANCEL APART"},
	{model: "handover.pml", defines: "CLOSE"},
	{model: "handover.pml", defines: "CLOSE APART"},
	{model: "handover.pml", defines: "END"},
	{model: "handover.pml", defines: "END APART"},
	{model: "handover.pml", defines: "QUEUE SPIN"},
	{model: "handover.pml", cycles: true},
	{model: "handover.pml", defines: "APART", cycles: true},
	{model: "handover.pml", defines: "QUEUE", cycles: true},
	{model: "handover.pml", defines: "NO_PROMOTE", fails: stuck},
	{model: "handover.pml", defines: "THREE NO_PROMOTE", fails: stuck},
	{model: "handover.pml", defines: "LEADER_NOT_LOOKED_AT", fails: stuck},
	{model: "handover.pml", defines: "BELL_READ_AFTER_LOOK", fails: stuck},
	{model: "handover.pml", defines: "APART PATIENT KICK_READ_AFTER_LOOK", fails: stuck},
	{model: "handover.pml", defines: "APART WATCHED_NOT_CLEARED", fails: broken},
	{model: "handover.pml", defines: "APART PATIENT NO_ROUSE", fails: stuck},
	{model: "handover.pml", defines: "APART PATIENT SPIN SPINS_LEFT_SET", fails: stuck},
	{model: "handover.pml", defines: "CANCEL UNPARK_WITHOUT_DRAINING", fails: broken},
	{model: "handover.pml", defines: "CANCEL CANCEL_WITHOUT_ROUSE", fails: stuck},
	{model: "handover.pml", defines: "CLOSE LEAVE_WITHOUT_ROUSE", fails: stuck},
	{model: "handover.pml", defines: "CLOSE LEAVE_WITHOUT_WAKING", fails: stuck},
	{model: "handover.pml", defines: "END END_WITHOUT_RING", fails: stuck},
	{model: "handover.pml", defines: "QUEUE ADMIT_WITHOUT_ROUSE", fails: stuck},

	{model: "overlap.pml"},
	{model: "overlap.pml", defines: "DEATHS=3"},
	{model: "overlap.pml", defines: "NO_GUARD", fails: broken},
	{model: "overlap.pml", defines: "NO_STARTED_FIRST", fails: broken},
	{model: "overlap.pml", defines: "NO_FENCE", fails: broken},
	// Without deaths nothing is executed again, and one block is atomic of itself.
	{model: "overlap.pml", defines: "DEATHS=0 NO_GUARD"},
}

func TestModels(t *testing.T) {
	testenv.Unraced(t)
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.Skip(t, "needs the Debian packages spin and gcc")
		}
	}
	for _, v := range variants {
		if v.long && os.Getenv("QUINTET_LONG") == "" {
			continue
		}
		name := v.model + "/" + strings.ReplaceAll(v.defines, " ", ",")
		if v.cycles {
			name += ",cycles"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v.check(t)
		})
	}
}

var errorCount = regexp.MustCompile(`errors: (\d+)`)

func (v variant) check(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(v.model)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, v.model), text, 0o600); err != nil {
		t.Fatal(err)
	}
	compile, run := []string{"-DSAFETY"}, []string(nil)
	if v.cycles {
		// NP searches for runs that stay out of progress states for ever, and the
		// models mark no state so: it finds any infinite run.
		compile, run = []string{"-DNP"}, []string{"-l"}
	}
	if v.long {
		compile = append(compile, "-DCOLLAPSE") // half the speed, a third of the memory
	}
	report := v.search(t, dir, compile, run)
	m := errorCount.FindStringSubmatch(report)
	switch {
	case m == nil || strings.Contains(report, "search not completed") && v.fails == "" || strings.Contains(report, "max search depth too small"):
		t.Fatalf("SPIN did not finish:\n%s", report)
	case v.fails == "" && m[1] != "0":
		t.Fatalf("the model fails:\n%s\n%s", report, v.trail(t, dir))
	case v.fails != "" && m[1] == "0":
		t.Fatalf("the mutation was not noticed:\n%s", report)
	case v.fails != "" && !regexp.MustCompile(v.fails).MatchString(report):
		t.Fatalf("the mutation failed, but not with %q:\n%s", v.fails, report)
	}
}

// search generates, compiles and runs the verifier.
func (v variant) search(t *testing.T, dir string, compile, run []string) string {
	t.Helper()
	command(t, dir, "spin", append(v.flags(), "-a", v.model)...)
	command(t, dir, "gcc", append(compile, "-O1", "-w", "-DMEMLIM="+panMegabytes, "-o", "pan", "pan.c")...)
	return command(t, dir, "./pan", append(run, "-m"+panDepthMax)...)
}

// trail replays the run that SPIN found.
func (v variant) trail(t *testing.T, dir string) string {
	t.Helper()
	return command(t, dir, "spin", append(v.flags(), "-t", "-p", "-g", v.model)...)
}

func (v variant) flags() []string {
	var flags []string
	for _, d := range strings.Fields(v.defines) {
		flags = append(flags, "-D"+d)
	}
	return flags
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
