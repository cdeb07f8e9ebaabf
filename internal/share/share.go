// Package share divides a bounded number of places among owners who do not trust one
// another: as long as there is room, everybody gets what he asks for; when there is
// none, the newest place of whoever has most makes room for somebody who has less.
//
// # Invariants
//
//   - No more places are taken than there are.
//   - Nobody loses a place to somebody who has as many, or one less: two owners do not
//     take each other's in turn.
//
// # Locks
//
// Pool's mutex is a leaf: an eviction is called without it.
package share

import (
	"container/list"
	"sync"
)

// Pool is a number of places. All methods may be called from any goroutine.
type Pool[K comparable] struct {
	limit int

	mu     sync.Mutex
	taken  int
	places map[K]*list.List // of *Place, the newest last; none is empty
}

// Place is one taken place.
type Place[K comparable] struct {
	pool  *Pool[K]
	owner K
	evict func()
	at    *list.Element // nil: left, or taken away
}

// NewPool returns a pool of so many free places.
func NewPool[K comparable](limit int) *Pool[K] {
	return &Pool[K]{limit: limit, places: make(map[K]*list.List)}
}

// Take takes a place for an owner; nil when there is none for him. evict is called, at
// most once and perhaps before Take's caller sees the place, when the place is given to
// somebody else; it must not block, and may call Leave. It takes time in proportion to
// the number of owners only when no place is free.
func (p *Pool[K]) Take(owner K, evict func()) *Place[K] {
	p.mu.Lock()
	var loser *Place[K]
	if p.taken >= p.limit {
		if loser = p.newestOfGreediest(owner); loser == nil {
			p.mu.Unlock()
			return nil
		}
		p.remove(loser)
	}
	all := p.places[owner]
	if all == nil {
		all = list.New()
		p.places[owner] = all
	}
	place := &Place[K]{pool: p, owner: owner, evict: evict}
	place.at = all.PushBack(place)
	p.taken++
	p.mu.Unlock()
	if loser != nil {
		loser.evict()
	}
	return place
}

// newestOfGreediest is the place that owner may have; nil if he has as much as anybody.
func (p *Pool[K]) newestOfGreediest(owner K) *Place[K] {
	most := 0
	if own := p.places[owner]; own != nil {
		most = own.Len()
	}
	most++ // whoever has one more would be where he was
	var greediest *list.List
	for _, all := range p.places {
		if all.Len() > most {
			greediest, most = all, all.Len()
		}
	}
	if greediest == nil {
		return nil
	}
	return greediest.Back().Value.(*Place[K])
}

func (p *Pool[K]) remove(place *Place[K]) {
	all := p.places[place.owner]
	all.Remove(place.at)
	if all.Len() == 0 {
		delete(p.places, place.owner)
	}
	place.at = nil
	p.taken--
}

// Leave gives the place back. Further calls do nothing.
func (pl *Place[K]) Leave() {
	pl.pool.mu.Lock()
	defer pl.pool.mu.Unlock()
	if pl.at != nil {
		pl.pool.remove(pl)
	}
}

// Taken is the number of places that are taken.
func (p *Pool[K]) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Of is the number of places that an owner has.
func (p *Pool[K]) Of(owner K) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := p.places[owner]; all != nil {
		return all.Len()
	}
	return 0
}
