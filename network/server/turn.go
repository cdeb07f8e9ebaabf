package server

// Work is counted in units of about 50 ns. A port's turn is paid in the same
// units, but above the work for what does others no good: so a port that attacks
// takes a small part of the time of a server that has other things to do, and all
// of it otherwise.
const (
	workFrame    = 1       // look at a frame
	workNote     = 2       // remember what it does to a connection
	workCopy     = 2       // deliver a copy, or find that there is no room,
	workCopyUnit = 1 << 10 // and one more for each so many bytes of it

	// turnUnits is what a port may spend in one turn. What a frame costs beyond is
	// paid in the turns that follow.
	turnUnits = 256
	// stepUnits bounds the work of one step; the last turn in it may exceed it by
	// its last frame.
	stepUnits = 8192
	// priceBad is that of a frame that its sender may not send, and priceFlood that
	// of a copy of a flooded frame, as a multiple of its work.
	priceBad   = 16
	priceFlood = 8

	// floodRate bounds the frames a second that one port floods, and floodBurst those
	// at once: every client has to look at each of them.
	floodRate  = 16 << 10
	floodBurst = 1 << 10
)

// begin gives p what it may spend in a turn.
func (p *port) begin() { p.credit = min(p.credit+turnUnits, turnUnits) }

// spend notes work that was done for p, and has it paid.
func (c *Core) spend(p *port, work, price int) {
	c.units -= work
	p.credit -= price
}

func copyWork(f *frame) int { return workCopy + f.length/workCopyUnit }
