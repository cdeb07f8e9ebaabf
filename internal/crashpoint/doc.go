// Package crashpoint lets the simulator stop a domain at any of its writes to
// shared memory.
//
// Code that writes memory shared with another domain calls Here before each
// write. In ordinary builds Here is an empty function the compiler removes.
// Under the build tag "simulator" it calls Hook, which may panic to play a
// death at that very write. Only one goroutine runs in the simulator, so Hook
// needs no synchronisation.
package crashpoint
