package topology

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The methods below return decoders of one value each, for fields.

func (d *decoder) text(to *string) func(node) {
	return func(n node) {
		if n.Kind != yaml.ScalarNode || isNull(n) || n.Value == "" {
			d.fail(n, "is %s, want a text", kindOf(n))
			return
		}
		if strings.ContainsRune(n.Value, 0) {
			d.fail(n, "contains a zero byte")
			return
		}
		*to = n.Value
	}
}

func (d *decoder) boolean(to *bool) func(node) {
	return func(n node) {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			d.fail(n, "is %s; allowed: true, false", kindOf(n))
			return
		}
		*to = strings.EqualFold(n.Value, "true")
	}
}

func (d *decoder) integer(to *int, least, most int) func(node) {
	return func(n node) {
		value, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || value < least || value > most {
			d.fail(n, "is %s; allowed: a whole number from %d to %d", kindOf(n), least, most)
			return
		}
		*to = value
	}
}

// choice decodes one of a few words.
func choice[T ~string](d *decoder, to *T, alternatives ...T) func(node) {
	return func(n node) {
		if n.Kind != yaml.ScalarNode || !slices.Contains(alternatives, T(n.Value)) {
			words := make([]string, len(alternatives))
			for i, each := range alternatives {
				words[i] = string(each)
			}
			d.fail(n, "is %s; %s", kindOf(n), allowed(n.Value, words))
			return
		}
		*to = T(n.Value)
	}
}

func (d *decoder) duration(to *time.Duration, least, most time.Duration) func(node) {
	return func(n node) {
		value, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || value < least || value > most {
			d.fail(n, "is %s; allowed: a duration from %v to %v, such as 250ms or 1.5s", kindOf(n), least, most)
			return
		}
		*to = value
	}
}

func (d *decoder) size(to *int64, least int64) func(node) {
	return func(n node) {
		value, ok := ParseSize(n.Value)
		switch {
		case n.Kind != yaml.ScalarNode || !ok:
			d.fail(n, "is %s; allowed: bytes, or a number with KiB, MiB, GiB or TiB, such as 64MiB", kindOf(n))
		case value < least:
			d.fail(n, "is %s, less than the least allowed, %s", kindOf(n), FormatSize(least))
		default:
			*to = value
		}
	}
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

// ParseSize accepts whole numbers only: with fractions the result would
// depend on rounding.
func ParseSize(text string) (int64, bool) {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		value, err := strconv.ParseUint(strings.TrimRight(digits, " "), 10, 63)
		if err != nil || int64(value) > math.MaxInt64/unit.bytes {
			return 0, false
		}
		return int64(value) * unit.bytes, true
	}
	return 0, false
}

// FormatSize writes a number of bytes as the file would: in the largest unit
// that leaves a whole number.
func FormatSize(bytes int64) string {
	for _, unit := range sizeUnits {
		if bytes >= unit.bytes && bytes%unit.bytes == 0 {
			return strconv.FormatInt(bytes/unit.bytes, 10) + unit.suffix
		}
	}
	return "0B"
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$`)

func (d *decoder) checkName(n node, what, name string) bool {
	if len(name) > nameBytesMax || !nameForm.MatchString(name) {
		d.fail(n, "%q is no name of %s: use up to %d of a-z 0-9 . _ - , starting and ending with a letter or digit", name, what, nameBytesMax)
		return false
	}
	return true
}
