package main

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// stdout is where every command prints what it was asked for. What could not be
// written there makes the command fail, whether or not it looks itself.
var stdout = &output{file: os.Stdout}

// output remembers the first failure to write to a file. It belongs to one goroutine.
type output struct {
	file *os.File
	err  error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// visible returns text with every character that would not print as itself escaped,
// and every line break but those of `allowed`: whoever chooses a name can neither send
// control characters to a terminal with it, nor forge lines.
func visible(text, allowed string) string {
	var b strings.Builder
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRuneInString(text[at:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[at])
		case strconv.IsPrint(r), strings.ContainsRune(allowed, r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		at += size
	}
	return b.String()
}

// makeVisible makes every string that v points to or holds visible, in place.
func makeVisible(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			makeVisible(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			makeVisible(v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			makeVisible(v.Index(i))
		}
	case reflect.Map:
		for each := v.MapRange(); each.Next(); {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.Set(each.Key())
			value.Set(each.Value())
			makeVisible(key)
			makeVisible(value)
			v.SetMapIndex(each.Key(), reflect.Value{})
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		if v.CanSet() {
			v.SetString(visible(v.String(), ""))
		}
	}
}
