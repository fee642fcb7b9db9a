package fabric

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/catchment-net/catchment/topology"
)

// BGP between the two ends of a link:
//
//	speaker A ◄── dials from B's address ── relay ── dials from A's address ──► speaker B
//	(passive)           the OPEN of A comes first, then B is dialled            (passive)
//
// Both speakers are passive, so each believes that the other one called. The end outside this process is dialled first,
// and the second one only when the first has said something: a frozen node accepts in its kernel and says nothing, and
// its router must not be bothered again and again.

const (
	minRedial   = 50 * time.Millisecond // between two tries, with jitter up to maxRedial
	maxRedial   = 200 * time.Millisecond
	dialTimeout = time.Second
)

// Adjacency is a BGP session that crosses a link.
type Adjacency struct {
	Link *topology.Link // of the fabric's topology
	A, B Speaker        // at the link's ends, in this order; a POP's end is one of its nodes
}

// Speaker is one end of an Adjacency.
type Speaker struct {
	Name string     // of the network or the node
	Addr netip.Addr // on the host
	Port func() (port uint16, listening bool)
}

// adjacencies are the relays of BGP sessions.
type adjacencies struct {
	mu      sync.Mutex // guards the following
	all     map[[2]string]*relay
	running bool
}

// AddBGP adds a session. Before Run only.
func (f *Fabric) AddBGP(a Adjacency) error {
	if a.Link == nil {
		return errors.New("BGP adjacency without a link")
	}
	l, err := f.graph.find(a.Link.Name())
	if err != nil {
		return err
	}
	for _, s := range []struct {
		Speaker
		end string
	}{{a.A, l.A}, {a.B, l.B}} {
		n := f.graph.topo.Node(s.Name)
		if s.Name != s.end && (n == nil || n.POP.Name != s.end) {
			return fmt.Errorf("BGP adjacency on %q: %q is not at its end %q", l.Name(), s.Name, s.end)
		}
		if !s.Addr.IsLoopback() || s.Port == nil {
			return fmt.Errorf("BGP adjacency on %q: %q has no loopback address (%v) or no port", l.Name(), s.Name, s.Addr)
		}
	}
	r := &relay{f: f, link: l, first: a.A, second: a.B, changed: make(chan struct{}, 1)}
	r.names = [2]string{a.A.Name, a.B.Name}
	if f.graph.topo.Node(a.A.Name) == nil {
		r.first, r.second = a.B, a.A
	}
	d := &f.adjacencies
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running {
		return fmt.Errorf("BGP adjacency on %q: the fabric runs already", l.Name())
	}
	if d.all == nil {
		d.all = map[[2]string]*relay{}
	}
	if d.all[r.names] != nil {
		return fmt.Errorf("BGP adjacency between %q and %q is there already", a.A.Name, a.B.Name)
	}
	d.all[r.names] = r
	return nil
}

func (d *adjacencies) run(ctx context.Context, f *Fabric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = true
	for _, r := range d.all {
		f.workers.Go(func() { r.run(ctx) })
	}
}

// up says whether a session's relay stands between two ends; true when they have none.
func (d *adjacencies) up(a, b string) bool {
	d.mu.Lock()
	r := d.all[[2]string{a, b}]
	if r == nil {
		r = d.all[[2]string{b, a}]
	}
	d.mu.Unlock()
	return r == nil || r.stands()
}

// changed makes the relays that a fault is about follow it at once.
func (d *adjacencies) changed(about func(*relay) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.all {
		if about(r) {
			r.follow()
		}
	}
}

// relay carries one session.
type relay struct {
	f             *Fabric
	link          *link
	names         [2]string // of the link's ends A and B
	first, second Speaker   // in the order of dialling
	changed       chan struct{}

	mu      sync.Mutex // guards the following
	legs    []net.Conn // as far as they are dialled
	streams []*stream  // nil until both legs are
	joined  bool       // both legs are open
}

func (r *relay) stands() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.joined
}

// now is the state of what the session crosses: the link, and what holds its ends apart.
func (r *relay) now() linkState {
	if s := r.link.now(); s != up {
		return s
	}
	between := Path{Hops: r.names[:]}
	if between.divide(r.f.faults.partitions.Load(), r.f.graph.topo, "partitioned"); between.Broken != "" {
		return blackholed
	}
	return up
}

// follow makes the relay as its link is now.
func (r *relay) follow() {
	r.mu.Lock()
	if r.now() == cut {
		for _, c := range r.legs {
			abort(c)
		}
	}
	r.shape()
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// shape stalls the streams of a link that swallows everything. BGP crosses a link without its own delay and loss, so that
// the time of a withdrawal is the software's own (docs/decisions/006); what a fault adds does count. It is called with mu
// held.
func (r *relay) shape() {
	p := &Path{}
	p.Delay, p.Loss = r.link.impairment()
	if s := r.now(); s != up {
		p.Broken = fmt.Sprintf("%q is %s", r.link.Name(), s)
	}
	for _, s := range r.streams {
		s.follow(p)
	}
}

// run keeps the session's relay up while the link is, until ctx is done.
func (r *relay) run(ctx context.Context) {
	for ctx.Err() == nil {
		if r.now() == up {
			r.session(ctx)
		}
		wait := minRedial + rand.N(maxRedial-minRedial) //nolint:gosec // jitter, not a secret
		if r.now() != up {
			wait = time.Hour // until the link changes
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-r.changed:
		}
		t.Stop()
	}
}

// session dials both ends, splices them, and returns when it is over.
func (r *relay) session(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, ok := r.dial(ctx, r.first, r.second.Addr)
	if !ok {
		return
	}
	defer abort(first)
	defer r.forget()
	r.keep(first)
	stop := context.AfterFunc(ctx, func() { abort(first) })
	defer stop()
	hello := make([]byte, 4096)
	n, err := first.Read(hello)
	if err != nil || r.now() != up {
		return
	}
	second, ok := r.dial(ctx, r.second, r.first.Addr)
	if !ok {
		return
	}
	defer abort(second)
	r.keep(second)
	stopSecond := context.AfterFunc(ctx, func() { abort(second) })
	defer stopSecond()
	r.splice(first, second, hello[:n])
}

func (r *relay) dial(ctx context.Context, to Speaker, from netip.Addr) (net.Conn, bool) {
	port, listening := to.Port()
	if !listening {
		return nil, false
	}
	d := net.Dialer{Timeout: dialTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(to.Addr, port).String())
	return c, err == nil
}

// keep notes a leg, so that a cut closes it.
func (r *relay) keep(c net.Conn) {
	r.mu.Lock()
	r.legs = append(r.legs, c)
	r.mu.Unlock()
	if r.now() == cut { // it was cut meanwhile
		abort(c)
	}
}

func (r *relay) forget() {
	r.mu.Lock()
	r.legs, r.streams = nil, nil
	r.mu.Unlock()
}

// join notes whether both legs are open; nodes choose their way out by it.
func (r *relay) join(joined bool) {
	r.mu.Lock()
	same := r.joined == joined
	r.joined = joined
	r.mu.Unlock()
	if !same {
		r.f.RouteChanged()
	}
}

// splice carries bytes both ways. Once one end has gone, the other one hears of it when what was on
// the way has arrived; across a blackhole it never does.
func (r *relay) splice(first, second net.Conn, hello []byte) {
	out, back := newStream(r.f.o.Now, r.f.o.Rand), newStream(r.f.o.Now, r.f.o.Rand)
	r.mu.Lock()
	r.streams = []*stream{out, back}
	r.shape()
	r.mu.Unlock()
	r.join(true)
	_ = out.put(append([]byte(nil), hello...), nil)
	var wg, readers sync.WaitGroup
	for _, way := range []struct {
		from, to net.Conn
		s        *stream
	}{{first, second, out}, {second, first, back}} {
		readers.Go(func() {
			swallow(way.from, way.s)
			r.join(false)
		})
		wg.Go(func() {
			pour(way.s, way.to)
			abort(way.to)
		})
	}
	readers.Wait() // both ends have gone: nothing on the way matters any more
	out.fail(errReset)
	back.fail(errReset)
	wg.Wait()
}

// swallow reads a leg into a stream until it ends.
func swallow(c net.Conn, s *stream) {
	buf := make([]byte, 16<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 && s.put(append([]byte(nil), buf[:n]...), nil) != nil {
			return
		}
		if err != nil {
			s.finish(io.EOF)
			return
		}
	}
}

// pour writes a stream to a leg until either ends.
func pour(s *stream, c net.Conn) {
	defer s.stop()
	for {
		b, err := s.take()
		if err != nil {
			return
		}
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// abort closes a leg so that its speaker notices at once.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
