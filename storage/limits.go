package storage

const (
	// BlockSizeMin and BlockSizeMax bound a volume's block size, in bytes.
	BlockSizeMin = 512
	BlockSizeMax = 64 << 10
	// TransferMax bounds the data of one read or write request, in bytes. Larger
	// transfers are split by the client, so that one request cannot hold up
	// those of other sessions for long.
	TransferMax = 1 << 20
	// RangeMax bounds one discard or write-zeroes request, in bytes.
	RangeMax = 1 << 30
	// VolumesMax bounds the volumes of one server; handles are below it.
	VolumesMax = 256
)
