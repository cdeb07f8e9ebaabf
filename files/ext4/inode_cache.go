package ext4

import "sync"

const (
	inodeShards = 64
	// inodeShare: of the bound of cached metadata, inodes take one part of this
	// many, and blocks the rest.
	inodeShare = 8
	// inodeBytes is what an inode in memory takes, with its place in the table.
	inodeBytes = 512
	// idlePerShardMin is how many inodes that nobody uses a shard may keep
	// however small the bound.
	idlePerShardMin = 2
)

// inodeCache holds the inodes in memory: those in use, and of the others as many
// as the bound leaves room for. Idle ones are on the volume, or in the journal's
// buffers, as they are here, so they can be dropped at any time.
type inodeCache struct{ shards [inodeShards]inodeShard }

type inodeShard struct {
	mu    sync.Mutex
	table map[uint32]*inode
	idle  []*inode // oldest first, roughly
	hand  int
	limit int // inodes in memory beyond which idle ones are dropped
	_     [64]byte
}

// init bounds the cache to so many bytes.
func (c *inodeCache) init(bytes int64) {
	for i := range c.shards {
		c.shards[i].table = make(map[uint32]*inode)
		c.shards[i].limit = max(idlePerShardMin, int(bytes/inodeBytes/inodeShards))
	}
}

func (c *inodeCache) shard(ino uint32) *inodeShard {
	return &c.shards[(ino*0x9E3779B1)>>26]
}

func (s *inodeShard) ref(i *inode) {
	i.refs++
	if i.idle >= 0 {
		s.wake(i)
	}
}

// ref adds a reference to an inode that has one.
func (f *FS) ref(i *inode) {
	s := f.inodes.shard(i.ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	i.refs++
}

// put drops a reference. What is held for appending goes with the last.
func (f *FS) put(i *inode) {
	s := f.inodes.shard(i.ino)
	s.mu.Lock()
	i.refs--
	var spare span
	if i.refs == 0 {
		spare, i.spare = i.spare, span{} // nobody else has i
		s.rest(i)
	}
	s.mu.Unlock()
	if spare.n > 0 {
		f.unhold(spare)
	}
}

// rest keeps an inode that nobody uses, in the place of older ones when there
// are too many with those in use.
func (s *inodeShard) rest(i *inode) {
	if s.table[i.ino] != i {
		return
	}
	i.idle = len(s.idle)
	s.idle = append(s.idle, i)
	for len(s.table) > s.limit && len(s.idle) > 0 {
		if s.hand++; s.hand >= len(s.idle)-1 { // the newest goes last
			s.hand = 0
		}
		old := s.idle[s.hand]
		s.wake(old)
		delete(s.table, old.ino)
	}
}

// wake takes an inode from among the idle.
func (s *inodeShard) wake(i *inode) {
	last := len(s.idle) - 1
	s.idle[i.idle] = s.idle[last]
	s.idle[i.idle].idle = i.idle
	s.idle[last] = nil
	s.idle = s.idle[:last]
	i.idle = -1
}

// count is how many inodes are in memory.
func (c *inodeCache) count() (n int64) {
	for k := range c.shards {
		s := &c.shards[k]
		s.mu.Lock()
		n += int64(len(s.table))
		s.mu.Unlock()
	}
	return n
}
