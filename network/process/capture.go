package process

import (
	"github.com/quintet-os/quintet/internal/unix"
	"github.com/quintet-os/quintet/ipc/broker"
	"github.com/quintet-os/quintet/ipc/process"
	"github.com/quintet-os/quintet/network/server"
)

// messageMax is how much is written at once. The file is a socket that keeps messages
// whole, so that what a dying server has written ends with a whole record.
const messageMax = 96 << 10

// capture writes the frames of a port to a file that does not block. What a reader
// that is too slow leaves no room for is lost and counted, not waited for.
type capture struct {
	*server.Capture
	fd     int
	number uint64
	left   []byte // taken from the capture and not yet written
}

// capture begins one, in the place of the one that the port has.
func (s *service) capture(body *broker.Capture, fd int) error {
	of := s.process.Session(body.Session)
	if of == nil {
		unix.CloseAll([]int{fd})
		return nil // it has ended
	}
	s.endCapture(of)
	c := &capture{Capture: server.NewCapture(s.epoch), fd: fd, number: body.Number}
	if body.Continued {
		c.Skip()
	}
	s.captures[of] = c
	s.Capture(of.IPC, c.Capture)
	return nil
}

// write passes on what has been captured.
func (s *service) write(of *process.Session) {
	for c := s.captures[of]; ; c.left = nil {
		if len(c.left) == 0 {
			if c.left = c.Take(messageMax); len(c.left) == 0 {
				return
			}
		}
		n, err := unix.TryWrite(c.fd, c.left)
		if err != nil {
			s.endCapture(of)
			s.process.Report(&broker.Captured{Session: of.Body.ID, Number: c.number, Lost: c.Lost})
			return
		}
		if n == 0 {
			return
		}
	}
}

func (s *service) endCapture(of *process.Session) {
	c := s.captures[of]
	if c == nil {
		return
	}
	s.Capture(of.IPC, nil)
	delete(s.captures, of)
	unix.CloseAll([]int{c.fd})
}
