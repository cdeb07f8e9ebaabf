package jbd2

import "encoding/binary"

// scan is the first pass: where the log ends, and whether what lies before is
// sound. The rules for telling an interrupted commit and a stale block from
// damage are those of Linux (fs/jbd2/recovery.c), so that we replay exactly the
// transactions that Linux and e2fsck replay.
type scan struct {
	*walker
	end        uint32 // first transaction that is not replayed
	ended      bool   // end was set by a bad checksum, not by the end of the log
	suspicious bool   // a descriptor or revoke block of this transaction fails its checksum: damaged, or stale
	suspect    ChecksumError
	time       uint64 // seconds, of the last good commit block
	sum        uint32 // v1: of the transaction so far
}

// findEnd returns the first transaction not to replay. Errors: *ChecksumError
// when a committed transaction is damaged (end is then still valid),
// *FormatError, *buffer.IOError.
func findEnd(log *Log, sb *Superblock) (end uint32, err error) {
	s := &scan{walker: newWalker(log, sb), sum: ^uint32(0)}
	for {
		p, kind, at, err := s.control()
		if err != nil {
			return 0, err
		}
		more := false
		switch kind {
		case blockDescriptor:
			more, err = s.descriptor(p, at)
		case blockRevoke:
			more = true
			if !s.layout.tailValid(p) {
				s.suspect = ChecksumError{"revoke block", at, s.sequence}
				s.suspicious = true
			}
		case blockCommit:
			more, err = s.commit(p, at)
		}
		if !s.ended {
			s.end = s.sequence
		}
		if err != nil || !more {
			return s.end, err
		}
	}
}

func (s *scan) descriptor(p []byte, at uint32) (more bool, err error) {
	if !s.layout.tailValid(p) {
		s.suspect = ChecksumError{"descriptor block", at, s.sequence}
		s.suspicious = true
	}
	n := s.layout.countTags(p)
	if s.sb.Compat&CompatChecksum == 0 || s.suspicious || s.ended {
		return s.skip(n), nil
	}
	s.sum = crc32BigEndian(s.sum, p)
	for range n {
		data, _, ok, err := s.take()
		if err != nil || !ok {
			return false, err
		}
		s.sum = crc32BigEndian(s.sum, data)
	}
	return true, nil
}

func (s *scan) commit(p []byte, at uint32) (more bool, err error) {
	time := binary.BigEndian.Uint64(p[commitSecAt:])
	if s.suspicious {
		// Blocks left over from an older journal in the same place pass for
		// ours but for the checksum, and were committed earlier.
		if time < s.time {
			return false, nil
		}
		return false, &s.suspect
	}
	if s.ended {
		// Something was committed after the transaction whose checksum failed.
		// Only version 1 takes that for damage.
		if s.sb.Compat&CompatChecksum != 0 {
			return false, &ChecksumError{"commit block", at, s.end}
		}
		return false, nil
	}
	if !s.transactionValid(p) || !s.layout.commitValid(p) {
		if time < s.time {
			return false, nil
		}
		s.end, s.ended = s.sequence, true
		if s.sb.Incompat&IncompatAsyncCommit == 0 {
			return false, &ChecksumError{"commit block", at, s.sequence}
		}
	}
	s.time = time
	s.sum = ^uint32(0)
	s.sequence++
	return true, nil
}

// transactionValid checks version 1: the sum over the whole transaction, or none.
func (s *scan) transactionValid(p []byte) bool {
	if s.sb.Compat&CompatChecksum == 0 {
		return true
	}
	found := binary.BigEndian.Uint32(p[commitSumAt:])
	if p[commitTypeAt] == 0 && p[commitSizeAt] == 0 && found == 0 {
		return true
	}
	return p[commitTypeAt] == sumTypeCRC32 && p[commitSizeAt] == 4 && found == s.sum
}
