// Package archtest holds the rules of this source tree that a compiler does not
// check, as tests: which package may import which, where unsafe code and system
// calls may stand, how long a file may grow, and that every dependency is
// accounted for in docs/dependencies.md.
package archtest
