package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/catchment-net/catchment/bgpd/bfd"
	"github.com/catchment-net/catchment/bgpd/fib"
	"github.com/catchment-net/catchment/bgpd/speaker"
)

// bgpPort is where a machine's router and the nodes of POPs take sessions.
const bgpPort = 179

// RunMachine is the life of a router on a machine of its own, a network namespace or a container: it speaks BGP over the
// machine's interfaces, puts its best paths into the machine's kernel, and tells the runner of each, until ctx is done.
func RunMachine(ctx context.Context, f *File, log *slog.Logger) error {
	m, err := newMachine(f, log)
	if err != nil {
		return err
	}
	return m.run(ctx)
}

type machine struct {
	f       *File
	log     *slog.Logger
	router  *Router
	sync    *fib.Sync
	cables  []*cable
	paths   *bfd.Endpoint
	changes chan Change
}

// maxChanges is how many changes wait for a runner that does not take them; further ones are dropped with a warning.
const maxChanges = 1 << 14

// own is the router's address inside its machine; what the speaker knows its neighbours by follows.
func own(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, byte(1 + i>>8), byte(i)}) }

func newMachine(f *File, log *slog.Logger) (*machine, error) {
	m := &machine{f: f, log: log, changes: make(chan Change, maxChanges)}
	o := Options{
		Name: f.Name, ASN: f.ASN, Addr: own(1), RouterID: f.RouterID, Port: bgpPort, Prefixes: f.Prefixes,
		OnChange: m.changed, OnUpdate: func(b speaker.Best) { m.sync.Changed(b.Prefix) }, Logger: log,
	}
	for i, n := range f.Neighbors {
		inside := own(2 + i)
		relation, err := speaker.ParseRelation(string(n.Relation))
		if err != nil {
			return nil, fmt.Errorf("router %q: %w", f.Name, err)
		}
		o.Neighbors = append(o.Neighbors, Neighbor{
			Name: n.Name, ASN: n.ASN, Addr: inside, Relation: relation, Prepend: n.Prepend,
			NextHop4: n.Local, NextHop6: n.Local6, Default: n.Default,
		})
		m.cables = append(m.cables, &cable{
			name: n.Name, iface: n.Interface, local: n.Local, remote: n.Remote, inside: inside,
			speaker: netip.AddrPortFrom(own(1), bgpPort), dials: n.Dial, log: log,
		})
	}
	var err error
	if m.router, err = New(o); err != nil {
		return nil, err
	}
	if err := m.watch(); err != nil {
		return nil, err
	}
	static := map[netip.Prefix]netip.Addr{}
	for _, h := range f.Static {
		static[h.Prefix] = h.Via
	}
	m.sync, err = fib.New(fib.Options{Paths: m.router.RIB, Static: static, Source: f.Source, OnLink: m.link, Logger: log})
	return m, err
}

// link hangs up the sessions over an interface that has lost its carrier.
func (m *machine) link(l fib.Link) {
	for _, c := range m.cables {
		if c.iface == l.Name {
			c.carrier(l.Up)
		}
	}
}

// watch prepares BFD over the cables that ask for it.
func (m *machine) watch() error {
	var watched []bfd.Peer
	for _, n := range m.f.Neighbors {
		if n.BFD != 0 {
			watched = append(watched, bfd.Peer{Name: n.Name, Local: n.Local, Remote: n.Remote, Timing: bfd.Timing{Interval: n.BFD}})
		}
	}
	if watched == nil {
		return nil
	}
	var err error
	if m.paths, err = bfd.New(bfd.Options{OnChange: m.pathChanged, Logger: m.log}); err == nil {
		err = m.paths.Set(watched)
	}
	if err != nil {
		return fmt.Errorf("router %q: %w", m.f.Name, err)
	}
	return nil
}

// pathChanged hangs up the session over a path that has died, and lets none be begun before it is back.
func (m *machine) pathChanged(s bfd.Status) {
	for _, c := range m.cables {
		if c.remote == s.Remote {
			c.path(!s.Failed)
		}
	}
	if s.Error != "" {
		m.log.Warn("path cannot be watched", "peer", s.Name, "error", s.Error)
	}
}

// changed has the new best path put into the kernel and tells the runner.
func (m *machine) changed(c Change) {
	m.sync.Changed(c.Prefix)
	select {
	case m.changes <- c:
	default:
		m.log.Warn("change of a route not reported: the runner does not take them")
	}
}

func (m *machine) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := m.router.Listen(ctx); err != nil {
		return err
	}
	var parts sync.WaitGroup
	errs := make(chan error, 5+len(m.cables))
	part := func(name string, run func(context.Context) error) {
		parts.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("%s of router %q: %w", name, m.f.Name, err)
				stop()
			}
		})
	}
	part("routes", m.sync.Run)
	part("speaker", m.router.Run)
	part("memory", m.trim)
	if m.paths != nil {
		part("BFD", m.paths.Run)
	}
	if m.f.Changes != "" {
		part("report", m.report)
	}
	for _, c := range m.cables {
		part("session with "+c.name, c.run)
	}
	parts.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// report sends each change to the runner.
func (m *machine) report(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", m.f.Changes)
	if err != nil {
		return err
	}
	defer conn.Close()
	enc := json.NewEncoder(conn)
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-m.changes:
			if err := enc.Encode(c); err != nil {
				return err
			}
		}
	}
}
