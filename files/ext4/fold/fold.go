// Package fold tells names apart as ext4 does in directories that ignore case: two are the
// same if they are after full case folding and canonical decomposition, without what is
// ignored by default, by Unicode 12.1 (fs/unicode of Linux, nls_utf8-norm.c of e2fsprogs).
//
// Purpose: the form that names are compared and hashed in. They are stored as given.
//
// Trust: any bytes. Concurrency: functions without state.
package fold

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Name appends to dst the form in which name is compared. It returns false, and dst as it
// was, when name is not UTF-8: such a name is only like itself.
func Name(dst []byte, name string) ([]byte, bool) {
	for k := range len(name) {
		if name[k] >= utf8.RuneSelf {
			return other(dst, name)
		}
	}
	for k := range len(name) {
		dst = append(dst, lower(name[k]))
	}
	return dst, true
}

// Same reports whether name is a, which is folded already.
func Same(folded []byte, name []byte) bool {
	for k, c := range name {
		if c >= utf8.RuneSelf {
			b, ok := other(nil, string(name))
			return ok && string(b) == string(folded)
		}
		if k >= len(folded) || lower(c) != folded[k] {
			// What comes before the first other character folds byte by byte.
			return false
		}
	}
	return len(name) == len(folded)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// none takes the place of a character that is ignored.
const none = -1

// char is a character with its combining class.
type char struct {
	r     rune
	class uint8
}

func other(dst []byte, name string) ([]byte, bool) {
	if !utf8.ValidString(name) {
		return dst, false
	}
	caser := cases.Fold()
	var all []char
	var buf [utf8.UTFMax]byte
	for _, r := range name {
		switch {
		case unicode.Is(ignorable, r):
			all = append(all, char{none, 0}) // what combines does not pass it
		case unicode.Is(newer, r):
			all = append(all, char{r, 0})
		case unicode.Is(unicode.Cherokee, r):
			all = append(all, char{cherokee(r), 0})
		default:
			p := buf[:utf8.EncodeRune(buf[:], r)]
			p = norm.NFD.Bytes(caser.Bytes(norm.NFD.Bytes(p)))
			for len(p) > 0 {
				q, n := utf8.DecodeRune(p)
				all = append(all, char{q, norm.NFD.Properties(p).CCC()})
				p = p[n:]
			}
		}
	}
	order(all)
	for _, c := range all {
		if c.r != none {
			dst = utf8.AppendRune(dst, c.r)
		}
	}
	return dst, true
}

// cherokee folds a letter of the one script whose small letters fold to its capitals, which
// were there before them; package cases takes it for like others.
func cherokee(r rune) rune {
	switch {
	case r >= 0xAB70:
		return r - 0xAB70 + 0x13A0
	case r >= 0x13F8:
		return r - 8
	}
	return r
}

// order sorts each stretch of combining characters by their class.
func order(all []char) {
	for from := 0; from < len(all); from++ {
		to := from
		for to < len(all) && all[to].class != 0 {
			to++
		}
		slices.SortStableFunc(all[from:to], func(a, b char) int { return int(a.class) - int(b.class) })
		from = to
	}
}
