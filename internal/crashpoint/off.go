//go:build !simulator

package crashpoint

// Here marks the point just before a write to shared memory.
func Here() {}
