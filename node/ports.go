package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/popd"
)

// The limits of the hub's link.
const (
	maxLinks    = 16                    // connections at once; further ones wait in the socket's backlog
	helloMax    = 5 * time.Second       // from a connection to its first report
	refusalMax  = time.Second           // to tell a daemon that it is not wanted
	acceptAgain = 20 * time.Millisecond // after an error that is not the listener's end (out of descriptors, say)
)

// port is where a daemon is attached to the hub, by a socket or by a function call.
type port struct {
	sink    func(update)   // must not block
	traffic func() traffic // nil where it is in what it said
	purge   purgeFunc      // of a cache
	answers *purges        // who waits for answers of a link; nil without one
	said    report
}

// attach joins a daemon to the hub. The sink gets the present Snapshot and View at once, then each newer one.
func (h *hub) attach(s health.Service, p port) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ports[s] != nil {
		return fmt.Errorf("attach %s: another one is attached", serviceName(s))
	}
	h.ports[s] = &p
	snap := h.snap.Load()
	p.sink(update{Name: snap.Topology.Name, Files: snap.Files, View: h.judge.seen.Load()})
	return nil
}

// heard takes a daemon's report.
func (h *hub) heard(s health.Service, r report) {
	h.mu.Lock()
	p := h.ports[s]
	if p == nil {
		h.mu.Unlock()
		return
	}
	was := p.said
	p.said = r
	h.mu.Unlock()
	if p.answers != nil {
		p.answers.heard(r.Purged)
	}
	if r.Ready && !was.Ready {
		h.judge.ready(s, r.Pid)
	}
	if r.Draining != was.Draining {
		h.judge.draining(s, r.Draining, serviceName(s)+" is stopping")
	}
	if r.Refused != "" && r.Refused != was.Refused {
		h.o.Events.Add(event.Event{Kind: event.Config, Subject: serviceName(s), State: "refused", Cause: r.Refused})
	}
}

// lost is the lifeline's end: the daemon is gone, and its prefixes are withdrawn before this returns. Its port is free
// only then, so that its successor cannot be taken for it.
func (h *hub) lost(s health.Service, cause error) {
	h.mu.Lock()
	drained := h.ports[s] != nil && h.ports[s].said.Draining
	h.mu.Unlock()
	if errors.Is(cause, syscall.ECONNRESET) { // what the hub had sent was not all read
		cause = syscall.ECONNRESET
	}
	why := fmt.Sprintf("%s died: its link closed (%s)", serviceName(s), errText(cause))
	if drained {
		why = serviceName(s) + " has stopped"
	}
	h.judge.lost(s, why)
	h.o.Events.Add(event.Event{Kind: event.Process, Subject: serviceName(s), State: "gone", Cause: why})
	h.mu.Lock()
	delete(h.ports, s)
	h.mu.Unlock()
}

// clients is what clients ask of the daemons of this node on anycast addresses. It is called with mu held.
func (h *hub) clients() traffic {
	var all traffic
	for _, p := range h.ports {
		one := traffic{p.said.Last, p.said.Requests}
		if p.traffic != nil {
			one = p.traffic()
		}
		all.last, all.total = later(all.last, one.last), all.total+one.total
	}
	return all
}

// acceptLinks serves the daemons that run in processes of their own.
func (h *hub) acceptLinks(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	l = netutil.LimitListener(l, maxLinks)
	var links sync.WaitGroup
	defer links.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			links.Go(func() { h.serveLink(ctx, conn) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on link: %w", err)
		default:
			h.o.Logger.Error("link not accepted", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptAgain):
			}
		}
	}
}

func (h *hub) serveLink(ctx context.Context, conn net.Conn) {
	var service health.Service
	box, pid := newMailbox(), peerPID(conn)
	_ = conn.SetReadDeadline(time.Now().Add(helloMax)) // the socket is open; a dead one is seen at the first read
	hear := func(r report) error {
		if service == "" {
			if err := h.accept(r, box); err != nil {
				h.o.Logger.Warn("link refused", "service", string(r.Service), "pid", r.Pid, "error", err)
				refuse(conn, err)
				return err
			}
			service = r.Service
			_ = conn.SetReadDeadline(time.Time{})
		}
		r.Pid = pid // as this process sees it
		h.heard(service, r)
		return nil
	}
	serveLink(ctx, conn, box, hear, func(err error) {
		if service != "" && ctx.Err() == nil {
			h.lost(service, err)
		}
	})
}

func (h *hub) accept(r report, box *mailbox) error {
	if r.Node != h.self.Name {
		return fmt.Errorf("it is of node %q, this hub of %q", r.Node, h.self.Name)
	}
	if r.Service != health.DNS && r.Service != health.Web {
		return fmt.Errorf("unknown service %q", r.Service)
	}
	waiting := &purges{}
	return h.attach(r.Service, port{sink: box.put, answers: waiting, purge: func(ctx context.Context, what popd.PurgeRequest) (popd.Purged, error) {
		return waiting.ask(ctx, box, what)
	}})
}
