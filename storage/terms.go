package storage

// Terms say what a session may do with its one volume. The supervisor sets them;
// the server enforces them.
type Terms struct {
	// Volume is the server's handle of it.
	Volume   int    `json:"volume"`
	ReadOnly bool   `json:"read_only,omitempty"`
	Limits   Limits `json:"limits"`
}

// Limits bound what one session has in flight on one volume. A request beyond
// them waits.
type Limits struct {
	Requests int   `json:"requests,omitempty"`
	Bytes    int64 `json:"bytes,omitempty"` // of payload
}
