package uring

// File names a file in a submission: a descriptor, or a registered file.
type File int32

// Descriptor is an ordinary descriptor.
func Descriptor(fd int) File { return File(fd) }

// FixedFile is the i-th registered file.
func FixedFile(i int) File { return File(^i) }

func (s *SQE) file(f File) {
	if f < 0 {
		s.flags |= sqeFixedFile
		f = ^f
	}
	s.fd = int32(f)
}

// Read reads into mem.
func (s *SQE) Read(f File, mem []byte, offset int64) { s.transfer(opRead, f, mem, offset) }

// ReadFixed reads into mem, which lies inside the fixed buffer at place.
func (s *SQE) ReadFixed(f File, mem []byte, offset int64, place int) {
	s.transfer(opReadFixed, f, mem, offset)
	s.buffer = uint16(place)
}

// Write writes mem; sync makes the data durable before the completion.
func (s *SQE) Write(f File, mem []byte, offset int64, sync bool) {
	s.transfer(opWrite, f, mem, offset)
	s.sync(sync)
}

// WriteFixed is Write from mem inside the fixed buffer at place.
func (s *SQE) WriteFixed(f File, mem []byte, offset int64, place int, sync bool) {
	s.transfer(opWriteFixed, f, mem, offset)
	s.buffer = uint16(place)
	s.sync(sync)
}

func (s *SQE) sync(on bool) {
	if on {
		s.opFlags = rwDsync
	}
}

// Datasync makes completed writes durable.
func (s *SQE) Datasync(f File) {
	s.opcode, s.opFlags = opFsync, fsyncDatasync
	s.file(f)
}

// PunchHole releases a range, which reads as zeroes afterwards. The size of the
// file stays.
func (s *SQE) PunchHole(f File, offset, length int64) {
	s.fallocate(f, offset, length, fallocPunchHole|fallocKeepSize)
}

// ZeroRange makes a range read as zeroes. The size of the file stays.
func (s *SQE) ZeroRange(f File, offset, length int64) {
	s.fallocate(f, offset, length, fallocZeroRange|fallocKeepSize)
}

func (s *SQE) fallocate(f File, offset, length int64, mode uint32) {
	s.opcode, s.offset, s.address, s.length = opFallocate, uint64(offset), uint64(length), mode
	s.file(f)
}

// Nop does nothing but complete.
func (s *SQE) Nop() { s.opcode = opNop }

// Raw fills in an operation of any kind. It is how tests show that a restricted
// ring refuses the kinds that this package does not use.
func (s *SQE) Raw(opcode uint8, fd int32, address uint64, length uint32, offset uint64) {
	s.opcode, s.fd, s.address, s.length, s.offset = opcode, fd, address, length, offset
}
