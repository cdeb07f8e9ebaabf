//go:build !race

package ipc

// storeRelease stores v after all earlier loads and stores. Unlike
// atomic.StoreUint64 it is no full fence, which on amd64 saves a locked
// instruction.
//
//go:noescape
func storeRelease(p *uint64, v uint64)
