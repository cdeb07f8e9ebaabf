package sandbox

import (
	"fmt"
	"os"
	"syscall"

	"github.com/quintet-os/quintet/internal/unix"
)

// Offsets in struct seccomp_data, seccomp(2).
const (
	dataNumber    = 0
	dataArch      = 4
	dataArguments = 16 // 8 bytes each, little-endian on both architectures

	// x32Calls and above are the x32 calls of amd64; no other number reaches it.
	x32Calls = 0x4000_0000
)

// filter assembles the seccomp program of a set of calls. The kernel runs it
// once for each call number in advance and never again for those allowed
// whatever their arguments, so the order of the list costs nothing.
func filter(calls Calls) ([]unix.Instruction, error) {
	f := assembler{}
	f.load(dataArch)
	f.unlessEqual(unix.AuditArch, unix.SeccompKillProcess)
	f.load(dataNumber)
	f.ifAtLeast(x32Calls, unix.SeccompKillProcess)
	for _, name := range calls.names() {
		f.ifCall(name, unix.SeccompAllow)
	}
	for _, name := range fatalCalls {
		f.ifCall(name, unix.SeccompKillProcess)
	}
	f.ifCall("clone3", unix.SeccompErrno|uint32(syscall.ENOSYS))
	rules := calls.rules()
	for _, name := range []string{"tgkill", "kill"} {
		rules = append(rules, rule{call: name, argument: 0, values: []uint32{uint32(os.Getpid())}})
	}
	for _, r := range rules {
		f.rule(r)
	}
	f.result(denied)
	if f.err != nil {
		return nil, f.err
	}
	return f.program, nil
}

const denied = unix.SeccompErrno | uint32(syscall.EPERM)

type assembler struct {
	program []unix.Instruction
	err     error
}

func (f *assembler) add(code uint16, k uint32, jumpTrue, jumpFalse int) {
	if jumpTrue > 255 || jumpFalse > 255 {
		f.err = fmt.Errorf("seccomp filter: a jump of more than 255 instructions")
	}
	f.program = append(f.program, unix.Instruction{Code: code, Jt: uint8(jumpTrue), Jf: uint8(jumpFalse), K: k})
}

func (f *assembler) load(offset uint32)   { f.add(unix.BPFLoad, offset, 0, 0) }
func (f *assembler) result(action uint32) { f.add(unix.BPFReturn, action, 0, 0) }

func (f *assembler) ifEqual(value, action uint32) {
	f.add(unix.BPFJumpEqual, value, 0, 1)
	f.result(action)
}

func (f *assembler) unlessEqual(value, action uint32) {
	f.add(unix.BPFJumpEqual, value, 1, 0)
	f.result(action)
}

func (f *assembler) ifAtLeast(value, action uint32) {
	f.add(unix.BPFJumpAtLeast, value, 0, 1)
	f.result(action)
}

// ifCall does nothing for a call that this architecture does not have.
func (f *assembler) ifCall(name string, action uint32) {
	if number, ok := unix.SystemCall(name); ok {
		f.ifEqual(number, action)
	}
}

// rule ends the program for its call: allowed if the argument passes, else
// denied. The call number is in the accumulator before and after.
func (f *assembler) rule(r rule) {
	number, ok := unix.SystemCall(r.call)
	if !ok {
		return
	}
	mask := r.mask
	if mask == 0 {
		mask = ^uint32(0)
	}
	f.add(unix.BPFJumpEqual, number, 0, 3+2*len(r.values))
	f.load(dataArguments + 8*uint32(r.argument))
	f.add(unix.BPFAnd, mask, 0, 0)
	for _, value := range r.values {
		f.ifEqual(value, unix.SeccompAllow)
	}
	f.result(denied)
}
