//go:build simulator

package crashpoint

// Hook is called before every write to shared memory; nil means no hook.
var Hook func()

// Here marks the point just before a write to shared memory.
func Here() {
	if Hook != nil {
		Hook()
	}
}
