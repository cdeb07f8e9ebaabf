package doctor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryFindingIsUseful(t *testing.T) {
	directory := t.TempDir()
	findings := Check(directory)
	if len(findings) != len(checks) {
		t.Fatalf("%d findings of %d checks", len(findings), len(checks))
	}
	for _, f := range findings {
		t.Logf("%+v", f)
		if f.Name == "" || f.Found == "" || f.Means == "" {
			t.Errorf("%+v lacks something", f)
		}
		if (f.State == OK) != (f.Mend == "") {
			t.Errorf("%s is %s, and to mend it: %q", f.Name, f.State, f.Mend)
		}
	}
	if left, err := os.ReadDir(directory); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWhatIsNotThereIsReported(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	// What does not exist yet will be like what it is made in.
	state, found, mend := directIO(filepath.Dir(none))
	if later, foundLater, mendLater := directIO(filepath.Join(none, "below")); later != state || foundLater != found || mendLater != mend {
		t.Errorf("direct I/O of a missing directory: %s, %s, %s; of the one above: %s, %s, %s", later, foundLater, mendLater, state, found, mend)
	}
	if state, _, mend := opens(none, os.O_RDWR, Missing, "make it")(""); state != Missing || mend != "make it" {
		t.Errorf("missing device: %s, %s", state, mend)
	}
	if state, _, mend := limit(0, ^uint64(0), "")(""); state != OK && mend == "" {
		t.Errorf("low limit: %s, %q", state, mend)
	}
}

func TestAbleOnlyWithWhatIsRequired(t *testing.T) {
	if Able([]Finding{{State: Missing}, {State: Missing, Required: true}}) {
		t.Error("able without a requirement")
	}
	if !Able([]Finding{{State: Missing}, {State: Degraded, Required: true}}) {
		t.Error("not able, though only weaker")
	}
}

func TestPrintNamesRemedies(t *testing.T) {
	var b strings.Builder
	findings := []Finding{{Name: "good", State: OK, Found: "x", Means: "y"}, {Name: "bad", State: Missing, Found: "x", Means: "y", Mend: "do this"}}
	if err := Print(&b, findings); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.Contains(got, "bad (missing): do this") || strings.Contains(got, "good (ok)") {
		t.Errorf("got\n%s", got)
	}
	text, err := json.Marshal(findings[0])
	if err != nil || !strings.Contains(string(text), `"state":"ok"`) {
		t.Errorf("got %s, %v", text, err)
	}
}
