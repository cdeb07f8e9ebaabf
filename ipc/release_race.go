//go:build race

package ipc

import "sync/atomic"

// The race detector does not see assembly, so it gets the stronger store.
func storeRelease(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
