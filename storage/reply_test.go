package storage

import "testing"

func TestReplyRoundTrip(t *testing.T) {
	for _, r := range []Reply{
		{},
		{Kind: KindNoSpace, Errno: 28, Done: 4096},
		{Info: Info{Size: 1 << 40, BlockSize: 512, Writable: true, Discard: true}},
	} {
		words := r.Encode()
		if got := DecodeReply(&words, 8192); got != r {
			t.Errorf("%+v became %+v", r, got)
		}
	}
}

func TestReplyOutOfRange(t *testing.T) {
	words := (&Reply{Done: 8193}).Encode()
	if got := DecodeReply(&words, 8192); got.Kind != KindIO || got.Done != 0 {
		t.Errorf("a reply with more done than asked became %+v", got)
	}
}
