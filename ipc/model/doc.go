// Package model holds Promela models of ipc's protocols; its tests check them
// with SPIN.
//
//	sleep.pml     sleeping and waking in both directions: no wake-up is lost
//	slots.pml     submitting, taking, answering: every request answered once
//	handover.pml  the callers of one process: none is left parked, no token is
//	              lost or doubled, and the lead never lies idle while somebody waits
//	overlap.pml   executing again after a death: no write that anybody knows of is
//	              undone (storage/server's guard, order of recovery and fence)
//
// In sleep.pml and slots.pml a server dies at any step and a successor starts from
// the two segments alone. The state graphs of those that sleep or wait are finite
// and, as a second run shows, without cycles: so a run that ends in no invalid
// state is a run that was served.
//
// A model is worth what its mutations show. Each takes one rule of the protocol
// away by a preprocessor symbol, and SPIN must then find the failure; a mutation
// that passes fails the test.
package model
