// Package bench measures Quintet beside what it has to be compared with: C
// programs that do the same, Unix sockets, bare futexes, fio.
//
// Each benchmark alternates the two sides, round by round in one run, so that a
// drift of the machine strikes both; a row gives the medians over the rounds and
// the conditions they were measured under. Both sides are processes of their
// own: C programs compiled at run time, and this very binary started again (see
// RunSide). Nothing here knows what result is hoped for.
package bench
