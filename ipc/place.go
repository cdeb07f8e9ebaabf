package ipc

import "github.com/quintet-os/quintet/internal/unix"

// This file keeps two sides that share a processor from spinning against each
// other. Each publishes the processor it runs on, its place; a side that finds
// the other at its own place yields the processor in each turn of its spinning
// instead of pausing. That is a switch of about a microsecond, where spinning
// would last until the budget is spent or the time slice is over.
//
// A place is a hint. It may be out of date, since the kernel moves threads, and a
// peer may lie: either costs speed and nothing else.

// place returns the processor of the calling thread, plus one.
func place() uint64 { return uint64(unix.CPU()) + 1 }

// besideServer tells whether the server was last seen where the client was. Both
// places are zero at first.
func (c *Client) besideServer() bool { return c.mine.load(offPlace) == c.theirs.load(offPlace) }

// settle publishes the caller's place, and tells whether the server is there too.
func (c *Client) settle() bool {
	if here := place(); c.mine.load(offPlace) != here {
		c.mine.publish(offPlace, here)
	}
	return c.besideServer()
}

// settle publishes the caller's place to all active clients, and finds out
// whether one of them is there too.
func (ss *Sessions) settle() {
	here := place()
	ss.beside = false
	for _, s := range ss.active {
		if s.place != here {
			s.place = here
			s.server.publish(offPlace, here)
		}
		ss.beside = ss.beside || s.client.load(offPlace) == here
	}
}
