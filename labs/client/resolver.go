package client

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// maxTTL bounds how long an answer is kept (RFC 8767 §4 advises days; a lab runs for hours at most).
const maxTTL = time.Hour

// Answer is what the resolver knows of a host.
type Answer struct {
	Addrs    []netip.Addr
	Fresh    bool          // asked for this call; otherwise from the cache
	Empty    bool          // a name server answered NOERROR or NXDOMAIN without an address
	Rcode    string        // "NOERROR", "NXDOMAIN"
	TTL      time.Duration // as received; for an empty answer the negative TTL (RFC 2308 §5)
	Received int64         // when, by Options.Mono
	Server   netip.Addr
	Node     string // who answered, by NSID
	Err      error  // no name server gave an answer; the other fields but Fresh are zero
}

// resolver keeps answers while their TTL lasts and asks at most one question per host at a time.
type resolver struct {
	o *Options

	mu    sync.Mutex // guards the following
	hosts map[string]*lookup
	good  int // index in Options.Servers of the last that answered
}

// lookup is one question for a host, under way or answered.
type lookup struct {
	done    chan struct{} // closed when answer is set
	answer  Answer
	expires int64
}

func newResolver(o *Options) *resolver { return &resolver{o: o, hosts: map[string]*lookup{}} }

// resolve answers from the cache, joins a question under way, or asks.
func (r *resolver) resolve(ctx context.Context, host string) Answer {
	r.mu.Lock()
	l := r.hosts[host]
	if l != nil && l.valid(r.o.Mono()) {
		r.mu.Unlock()
		return l.wait(ctx)
	}
	l = &lookup{done: make(chan struct{})}
	r.hosts[host] = l
	first := r.good
	r.mu.Unlock()

	answer := r.ask(ctx, host, first)
	r.mu.Lock()
	l.answer, l.expires = answer, answer.Received+int64(min(answer.TTL, maxTTL))
	if answer.Err != nil && r.hosts[host] == l {
		delete(r.hosts, host)
	}
	close(l.done)
	r.mu.Unlock()
	answer.Fresh = true
	return answer
}

// forget drops every answer; who waits for one still gets it.
func (r *resolver) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.hosts)
}

// valid reports whether a lookup is under way or its answer may still be used. The caller holds the lock.
func (l *lookup) valid(now int64) bool {
	select {
	case <-l.done:
		return l.answer.Err == nil && now < l.expires
	default:
		return true
	}
}

// wait returns the answer of a question that another request has asked.
func (l *lookup) wait(ctx context.Context) Answer {
	select {
	case <-l.done:
		return l.answer
	case <-ctx.Done():
		return Answer{Err: fmt.Errorf("wait for an answer: %w", ctx.Err())}
	}
}

// ask tries each name server once, from the last good one on. It ends after len(Servers) times DNSTimeout at most.
func (r *resolver) ask(ctx context.Context, host string, first int) Answer {
	var last error
	for i := range r.o.Servers {
		n := (first + i) % len(r.o.Servers)
		answer, err := r.askServer(ctx, host, r.o.Servers[n])
		if err == nil {
			r.mu.Lock()
			r.good = n
			r.mu.Unlock()
			return answer
		}
		last = fmt.Errorf("ask name server %s for %q: %w", r.o.Servers[n].Addr(), host, err)
		if ctx.Err() != nil {
			break
		}
	}
	return Answer{Err: last}
}
