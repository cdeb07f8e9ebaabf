// Package unix is the only package of Quintet that makes system calls which
// the standard library does not offer.
//
// Purpose: thin, typed wrappers over golang.org/x/sys and, where that has no
// wrapper, over raw system-call numbers. Each function is one system call (or
// one retry loop around one) and returns the error of the kernel, wrapped by
// the caller with what was attempted. Nothing here holds state, so there is no
// lock order. Code that needs package unsafe stands in files named *_unsafe.go.
//
// Trust: arguments come from Quintet's own packages. Descriptors may have been
// received from a peer; nothing here assumes anything of what they refer to.
package unix
