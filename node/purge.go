package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd"
)

// A purge at the admin socket reaches the cache by a function call, or over the link:
//
//	hub ── update {purge: [{id 7, …}]} ──► popd
//	    ◄── report {purged: [{id 7, …}]} ──   at once; a link that ends first is an error, not a success

// PurgePath is where an admin socket takes a popd.PurgeRequest.
const PurgePath = "/v1/purge"

// The limits of purges over the link.
const (
	maxPurges  = 1024            // orders that wait for the link
	purgeLimit = 2 * time.Second // for the answer
)

// purgeFunc has a cache forget.
type purgeFunc func(context.Context, popd.PurgeRequest) (popd.Purged, error)

type purgeOrder struct {
	ID   uint64            `json:"id"`
	What popd.PurgeRequest `json:"what"`
}

type purgeDone struct {
	ID     uint64      `json:"id"`
	Done   popd.Purged `json:"done"`
	Failed string      `json:"failed,omitempty"` // why nothing was purged
}

func (h *hub) servePurge(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	p := h.ports[health.Web]
	h.mu.Unlock()
	if p == nil {
		admin.Refuse(w, http.StatusServiceUnavailable, fmt.Errorf("no cache runs on node %q", h.self.Name), "start its popd; one that starts has nothing stored")
		return
	}
	servePurge(w, r, p.purge)
}

// servePurge answers one request of the admin socket.
func servePurge(w http.ResponseWriter, r *http.Request, purge purgeFunc) {
	var what popd.PurgeRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&what); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode purge: %w", err), `send {"url": "http://www.shop.example/a"} or {"keys": ["shoes"]}`)
		return
	}
	done, err := purge(r.Context(), what)
	if err != nil {
		admin.Refuse(w, http.StatusBadRequest, err, "")
		return
	}
	admin.Reply(w, done)
}

// purges sends orders down a link and hands the answers to those who wait.
type purges struct {
	mu      sync.Mutex // guards the following; held for an assignment
	last    uint64
	waiting map[uint64]chan purgeDone
}

// ask orders one purge and waits for the answer.
func (p *purges) ask(ctx context.Context, box *mailbox, what popd.PurgeRequest) (popd.Purged, error) {
	answer := make(chan purgeDone, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	if p.waiting == nil {
		p.waiting = map[uint64]chan purgeDone{}
	}
	full := len(p.waiting) >= maxPurges
	if !full {
		p.waiting[id] = answer
	}
	p.mu.Unlock()
	if full {
		return popd.Purged{}, fmt.Errorf("%d purges wait for popd already", maxPurges)
	}
	defer p.forget(id)
	box.put(update{Purge: []purgeOrder{{id, what}}})
	timeout := time.NewTimer(purgeLimit)
	defer timeout.Stop()
	select {
	case d := <-answer:
		if d.Failed != "" {
			return popd.Purged{}, errors.New(d.Failed)
		}
		return d.Done, nil
	case <-timeout.C:
		return popd.Purged{}, fmt.Errorf("popd did not answer within %v; ask again: a purge may be repeated", purgeLimit)
	case <-ctx.Done():
		return popd.Purged{}, ctx.Err()
	}
}

func (p *purges) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
}

// heard takes the answers of a report.
func (p *purges) heard(done []purgeDone) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range done {
		if c := p.waiting[d.ID]; c != nil {
			c <- d // it has room for the one answer
			delete(p.waiting, d.ID)
		}
	}
}

// purge does what the hub orders. The next report carries the answers.
func (s *Service) purge(orders []purgeOrder) {
	web, ok := s.daemon.(*webDaemon)
	for _, o := range orders {
		d := purgeDone{ID: o.ID, Failed: "this daemon is no cache"}
		if ok {
			var err error
			if d.Done, err = web.Purge(o.What); err == nil {
				d.Failed = ""
			} else {
				d.Failed = err.Error()
			}
		}
		s.mu.Lock()
		s.purged = append(s.purged, d)
		s.mu.Unlock()
	}
	notify(s.changed)
}

// answers are those that have not been reported.
func (s *Service) answers() []purgeDone {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.purged
	s.purged = nil
	return done
}
