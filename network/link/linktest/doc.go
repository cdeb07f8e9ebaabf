// Package linktest says what must hold of every uplink, as data that any
// implementation can be run against, with the kernel of Linux as the other end: it
// makes interfaces in network namespaces of its own, which vanish with the test.
//
// It also has a link that loses, repeats, delays and reorders frames, in virtual
// time and by a seed.
package linktest
