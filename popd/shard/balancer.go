package shard

import (
	"sync"

	"github.com/catchment-net/catchment/popd/key"
)

// The bounds on how unevenly a node may be asked.
const (
	loadFactor = 1.1 // times the mean: consistent hashing with bounded loads
	calm       = 32  // requests under way at one node that are never too many
)

// Balancer chooses among the nodes of a POP and counts what is under way at each. Its methods are safe for concurrent
// use; its zero value is ready.
type Balancer struct {
	mu    sync.Mutex     // guards the following; held for a walk over the nodes of a POP
	under map[string]int // requests under way; names without any are not in it
	total int
}

// Pick returns the first of the key's nodes at which no more is under way than loadFactor times the mean, and counts a
// request there until done is called, once. Without names it returns "".
func (b *Balancer) Pick(k key.Key, names []string) (name string, done func()) {
	if len(names) == 0 {
		return "", func() {}
	}
	order := Order(k, names)
	b.mu.Lock()
	defer b.mu.Unlock()
	limit := max(calm, int(loadFactor*float64(b.total+1)/float64(len(names)))+1)
	name = order[0] // only if all are above the mean, which cannot be while all requests go to these names
	for _, n := range order {
		if b.under[n] < limit {
			name = n
			break
		}
	}
	if b.under == nil {
		b.under = map[string]int{}
	}
	b.under[name]++
	b.total++
	return name, func() { b.done(name) }
}

func (b *Balancer) done(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.under[name]--; b.under[name] == 0 {
		delete(b.under, name)
	}
}
