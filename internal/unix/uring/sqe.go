package uring

// Read reads into mem.
func (s *SQE) Read(fd int, mem []byte, offset int64) { s.transfer(opRead, fd, mem, offset) }

// ReadFixed reads into mem, which lies inside the fixed buffer at place.
func (s *SQE) ReadFixed(fd int, mem []byte, offset int64, place int) {
	s.transfer(opReadFixed, fd, mem, offset)
	s.buffer = uint16(place)
}

// Write writes mem; sync makes the data durable before the completion.
func (s *SQE) Write(fd int, mem []byte, offset int64, sync bool) {
	s.transfer(opWrite, fd, mem, offset)
	s.sync(sync)
}

// WriteFixed is Write from mem inside the fixed buffer at place.
func (s *SQE) WriteFixed(fd int, mem []byte, offset int64, place int, sync bool) {
	s.transfer(opWriteFixed, fd, mem, offset)
	s.buffer = uint16(place)
	s.sync(sync)
}

func (s *SQE) sync(on bool) {
	if on {
		s.opFlags = rwDsync
	}
}

// Datasync makes completed writes durable.
func (s *SQE) Datasync(fd int) {
	s.opcode, s.opFlags = opFsync, fsyncDatasync
	s.fd = int32(fd)
}

// PunchHole releases a range, which reads as zeroes afterwards. The size of the
// file stays.
func (s *SQE) PunchHole(fd int, offset, length int64) {
	s.fallocate(fd, offset, length, fallocPunchHole|fallocKeepSize)
}

// ZeroRange makes a range read as zeroes. The size of the file stays.
func (s *SQE) ZeroRange(fd int, offset, length int64) {
	s.fallocate(fd, offset, length, fallocZeroRange|fallocKeepSize)
}

func (s *SQE) fallocate(fd int, offset, length int64, mode uint32) {
	s.opcode, s.offset, s.address, s.length = opFallocate, uint64(offset), uint64(length), mode
	s.fd = int32(fd)
}

// Nop does nothing but complete.
func (s *SQE) Nop() { s.opcode = opNop }

// Raw fills in an operation of any kind. It is how tests show that a restricted
// ring refuses the kinds that this package does not use.
func (s *SQE) Raw(opcode uint8, fd int32, address uint64, length uint32, offset uint64) {
	s.opcode, s.fd, s.address, s.length, s.offset = opcode, fd, address, length, offset
}
