package ipctest

import "github.com/quintet-os/quintet/ipc"

// Sessions is the number of sessions of a System, unless its Test wants more.
const Sessions = 2

// Geometry is that of every session: more slots than one word has bits.
var Geometry = ipc.Geometry{Slots: 70, RingsOut: 1, RingsIn: 1, RingEntries: 16}

// System is a running server with one client for each session.
type System interface {
	// Client returns the client of a session.
	Client(session int) *ipc.Client
	// Kill ends the server wherever it is, and returns when a successor serves.
	Kill()
}
