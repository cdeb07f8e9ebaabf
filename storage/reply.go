package storage

// Reply answers a Request.
//
// Its wire form:
//
//	word 0   bits 0-7 Kind, 8-15 flags (1 writable, 2 discard), 32-63 errno of the server's kernel
//	word 1   Done
//	word 2   Info.Size       (OpInfo)
//	word 3   Info.BlockSize  (OpInfo)
//	words 4-6 zero
type Reply struct {
	Kind  Kind
	Errno uint32 // the cause, as the server's kernel told it; 0 if none
	Done  int64  // bytes read or written, counted from the front
	Info  Info   // OpInfo
}

const (
	replyWritable = 1 << 8
	replyDiscard  = 1 << 9
)

// Encode returns the wire form.
func (r *Reply) Encode() [7]uint64 {
	head := uint64(r.Kind) | uint64(r.Errno)<<32
	if r.Info.Writable {
		head |= replyWritable
	}
	if r.Info.Discard {
		head |= replyDiscard
	}
	return [7]uint64{head, uint64(r.Done), uint64(r.Info.Size), uint64(r.Info.BlockSize)}
}

// DecodeReply reads the wire form. A client trusts its server with the data, but
// not with its own memory: numbers out of range become KindIO with nothing done.
func DecodeReply(words *[7]uint64, length int64) Reply {
	head := words[0]
	r := Reply{
		Kind:  Kind(head),
		Errno: uint32(head >> 32),
		Done:  int64(words[1]),
		Info: Info{
			Size:      int64(words[2]),
			BlockSize: int(words[3]),
			Writable:  head&replyWritable != 0,
			Discard:   head&replyDiscard != 0,
		},
	}
	if r.Kind >= kindEnd || words[1] > uint64(length) || words[2] > 1<<63-1 || words[3] > BlockSizeMax {
		return Reply{Kind: KindIO}
	}
	return r
}
