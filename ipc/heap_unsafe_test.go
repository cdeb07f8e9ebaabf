package ipc

import "unsafe"

// heap returns zeroed memory aligned as a mapping of the lines matters.
func heap(size int) []byte {
	raw := make([]byte, size+pairBytes)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (pairBytes - 1)
	return raw[skip : skip+size : skip+size]
}
