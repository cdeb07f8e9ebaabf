package storage

import (
	"errors"
	"testing"

	"github.com/quintet-os/quintet/ipc"
)

var info = Info{Size: 1 << 20, BlockSize: 4096, Writable: true}

func TestRequestRoundTrip(t *testing.T) {
	for _, r := range []Request{
		{Op: OpInfo, Volume: 3},
		{Op: OpRead, Volume: VolumesMax - 1, Region: ipc.RegionsMax - 1, RegionOffset: 4096, Length: TransferMax, Offset: 1 << 40},
		{Op: OpWrite, Flags: FlagFUA, Length: 4096, Offset: 8192},
		{Op: OpFlush},
		{Op: OpDiscard, Length: RangeMax},
		{Op: OpWriteZeroes, Flags: FlagFUA, Length: 512},
	} {
		words := r.Encode()
		got, kind := DecodeRequest(&words)
		if kind != KindOK || got != r {
			t.Errorf("%+v became %+v, %v", r, got, kind)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := (&Request{Op: OpWrite, Length: 4096}).Encode()
	for name, c := range map[string]struct {
		word  int
		value uint64
		kind  Kind
	}{
		"no operation":       {0, 0, KindMalformed},
		"unknown operation":  {0, uint64(opEnd), KindMalformed},
		"unknown flag":       {0, uint64(OpWrite) | 2<<8, KindMalformed},
		"FUA read":           {0, uint64(OpRead) | uint64(FlagFUA)<<8, KindMalformed},
		"reserved bits":      {0, uint64(OpWrite) | 1<<16, KindMalformed},
		"volume":             {0, uint64(OpWrite) | VolumesMax<<32, KindMalformed},
		"region":             {1, ipc.RegionsMax, KindMalformed},
		"negative region":    {1, 1<<64 - 1, KindMalformed},
		"memory offset":      {2, 1 << 63, KindBounds},
		"length":             {3, TransferMax + 1, KindMalformed},
		"negative length":    {3, 1<<64 - 4096, KindMalformed},
		"offset overflow":    {4, 1<<63 - 4096, KindBounds},
		"negative offset":    {4, 1<<64 - 4096, KindBounds},
		"reserved word":      {6, 1, KindMalformed},
		"flush with a range": {0, uint64(OpFlush), KindMalformed},
	} {
		words := good
		words[c.word] = c.value
		if _, kind := DecodeRequest(&words); kind != c.kind {
			t.Errorf("%s: %v, want %v", name, kind, c.kind)
		}
	}
}

func TestCheck(t *testing.T) {
	readOnly := info
	readOnly.Writable = false
	for name, c := range map[string]struct {
		r    Request
		info Info
		kind Kind
	}{
		"whole volume":    {Request{Op: OpDiscard, Length: info.Size}, info, KindOK},
		"empty at end":    {Request{Op: OpRead, Offset: info.Size}, info, KindOK},
		"past the end":    {Request{Op: OpRead, Offset: info.Size, Length: 4096}, info, KindBounds},
		"unaligned":       {Request{Op: OpRead, Offset: 512, Length: 4096}, info, KindAlignment},
		"unaligned end":   {Request{Op: OpRead, Length: 512}, info, KindAlignment},
		"write read-only": {Request{Op: OpWrite, Length: 4096}, readOnly, KindPermission},
		"read read-only":  {Request{Op: OpRead, Length: 4096}, readOnly, KindOK},
		"flush read-only": {Request{Op: OpFlush}, readOnly, KindOK},
	} {
		if kind := c.r.Check(&c.info); kind != c.kind {
			t.Errorf("%s: %v, want %v", name, kind, c.kind)
		}
	}
}

func TestErrorIsItsKind(t *testing.T) {
	var err error = &Error{Kind: KindNoSpace, Op: OpWrite}
	if !errors.Is(err, KindNoSpace) || errors.Is(err, KindIO) {
		t.Errorf("%v is not told by its kind", err)
	}
}

// FuzzDecodeRequest: whatever the words, what passes all checks lies inside the
// volume and the region, and survives another trip.
func FuzzDecodeRequest(f *testing.F) {
	f.Add(uint64(OpWrite), uint64(0), uint64(0), uint64(4096), uint64(8192), uint64(0))
	f.Add(uint64(OpRead)|5<<32, uint64(7), uint64(4096), uint64(1<<20), uint64(1<<62), uint64(0))
	f.Add(uint64(OpDiscard), uint64(0), uint64(0), uint64(1<<30), uint64(1<<63-1), uint64(0))
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g uint64) {
		words := [7]uint64{a, b, c, d, e, g}
		r, kind := DecodeRequest(&words)
		if kind != KindOK {
			return
		}
		if r.Encode() != words {
			t.Fatalf("%x became %+v became %x", words, r, r.Encode())
		}
		const regionSize = 2 << 20
		if r.Check(&info) != KindOK || r.CheckRegion(regionSize, true, 512) != KindOK {
			return
		}
		if r.Op.Ranged() && (r.Offset < 0 || r.Length < 0 || r.Offset+r.Length > info.Size) ||
			r.Op.Transfers() && (r.RegionOffset < 0 || r.RegionOffset+r.Length > regionSize) {
			t.Fatalf("%+v was accepted", r)
		}
	})
}
