// Package demo is Quintet's main job in small: several application processes
// copy a tree of real files into a volume while its storage server is killed
// with SIGKILL about ten times a second. Then a web server, another process, serves the
// tree from the volume, and its client gets each file over TCP and sends it back,
// while the servers of the network and of the storage are killed in turn. In the end
// one more process reads the volume in quiet.
//
// What is counted, and how:
//
//   - lost: requests that failed or were not answered within answerMax, and
//     files that the reader could not find.
//   - duplicated: each worker rewrites a block of its own with a number that
//     grows, and reads it back after each write. Reading an older number than
//     the last one written means that an older write ran again after a newer.
//   - mismatched: reads whose content is not what was written, both under the
//     storm and by the reader in the end (SHA-256 of each file).
//   - gaps: a completion gap is the time between two consecutive completions
//     in one application process while a request was in flight throughout. The
//     gap of a kill is the longest one, over all applications, that overlaps the
//     time from the kill to the next. Gaps below gapMin are not recorded and
//     count as gapMin. Kills while a warm standby is there are told apart from the
//     others, of which there is one in coldTurns.
//   - connections: those that the web server's client has opened. Dropped are those that
//     ended without its having closed them.
//   - replayed: requests that a successor found in flight, as the servers have
//     counted them in the memory the supervisor keeps for them.
package demo

import "time"

const (
	// The names in the demo's topology.
	serverName  = "store"
	volumeName  = "demo"
	switchName  = "net"
	networkName = "lan"
	webDomain   = "web"

	killPeriod   = 100 * time.Millisecond
	coldTurns    = 20 // so many kills to one that does not wait for a warm standby
	warmPeriod   = 2 * time.Millisecond
	writers      = 3
	workers      = 4  // in each writer
	fetchers     = 16 // connections between the web server and its client
	chunkBytes   = 128 << 10
	blockBytes   = 4096
	answerMax    = 30 * time.Second
	gapMin       = 200 * time.Microsecond
	gapsMax      = 1 << 17 // recorded by one application
	treeBytesMax = 512 << 20
	treeFilesMax = 50_000
	// verifyEvery is the share of chunks that are read back under the storm.
	verifyEvery = 8
)
