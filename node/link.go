package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/catchment-net/catchment/health"
)

// The link joins a daemon's process to its hub over the hub's unix socket, one JSON object a line:
//
//	daemon                                   hub
//	  │── hello {service, node, ready …} ────►│  the hub begins to probe the service
//	  │◄── update {snapshot, view} ───────────│  whole Snapshots and Views; only the newest is ever sent
//	  │── report {ready, draining, last …} ──►│  every half second and on each change
//	  │                  ✕                    │  end of file: the daemon is dead, the hub withdraws at once
//
// The end of file is the lifeline: the kernel reports it within microseconds of a death, however sudden.

// reportEvery is how often a daemon tells its hub how it is, without a change.
const reportEvery = 500 * time.Millisecond

// maxLine bounds one line of the link: a Snapshot with all its zones.
const maxLine = 256 << 20

// update is what goes down the link. An absent field has not changed.
type update struct {
	Name  string            `json:"name,omitempty"`  // the configuration's name
	Files map[string][]byte `json:"files,omitempty"` // the Snapshot as its documents
	View  *health.View      `json:"view,omitempty"`
}

// report is what goes up the link.
type report struct {
	Service  health.Service `json:"service"`
	Node     string         `json:"node"`
	Ready    bool           `json:"ready"`    // it listens
	Draining bool           `json:"draining"` // it wants no new clients
	Last     time.Time      `json:"last"`     // when its last client request on an anycast address arrived
	Refused  string         `json:"refused,omitempty"`
	Pid      int            `json:"pid,omitempty"`
}

// mailbox holds the newest update that has not been sent yet. Put never blocks; a newer part replaces an older one.
type mailbox struct {
	mu   sync.Mutex // guards next
	next update
	wake chan struct{} // capacity 1
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(u update) {
	m.mu.Lock()
	if u.Files != nil {
		m.next.Name, m.next.Files = u.Name, u.Files
	}
	if u.View != nil {
		m.next.View = u.View
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() update {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.next
	m.next = update{}
	return u
}

// serveLink is the hub's end of one connection: it sends what box gets, hands reports to hear, and returns when the
// connection ends, which is the daemon's death unless ctx is done.
func serveLink(ctx context.Context, conn net.Conn, box *mailbox, hear func(report)) error {
	ctx, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() {
		out := json.NewEncoder(conn)
		for {
			select {
			case <-ctx.Done():
				return
			case <-box.wake:
			}
			if err := out.Encode(box.take()); err != nil {
				return // the reader sees the same end
			}
		}
	})
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := readLines(conn, hear)
	stop()
	cancel()
	conn.Close()
	sender.Wait()
	return err
}

// readLines decodes one T a line until the connection ends.
func readLines[T any](conn io.Reader, fn func(T)) error {
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for in.Scan() {
		var v T
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			return fmt.Errorf("read link: %w", err)
		}
		fn(v)
	}
	return in.Err()
}

// listenLink opens the hub's socket. A socket file that a dead hub left is replaced; the state folder's lock, which the
// caller holds, guarantees that no other hub owns it.
func listenLink(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old link socket: %w", err)
	}
	l, err := net.Listen("unix", path) //nolint:noctx // a unix socket listens at once
	if err != nil {
		return nil, fmt.Errorf("listen on link %q: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("restrict link %q: %w", path, err)
	}
	return l, nil
}

// daemon is what the hub needs of dnsd and popd, wherever they run.
type daemon interface {
	Apply(name string, files map[string][]byte) error
	SetView(v *health.View)
	LastRequest() time.Time
}

// follower keeps a daemon's process joined to its hub. While the hub is away the daemon keeps its last Snapshot, and
// alone gives it a View from its own probes.
type follower struct {
	socket  string
	service health.Service
	node    string
	daemon  daemon
	log     *slog.Logger
	changed chan struct{}     // capacity 1: the report has changed
	joined  func(joined bool) // tells of the hub's coming and going
	state   func() (ready, draining bool)
}

// redialEvery is how long a daemon waits before it looks for its hub again.
const redialEvery = 200 * time.Millisecond

func (f *follower) run(ctx context.Context) error {
	for ctx.Err() == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", f.socket)
		if err == nil {
			f.log.Info("joined the hub", "socket", f.socket)
			f.joined(true)
			err = f.follow(ctx, conn)
			f.joined(false)
			if ctx.Err() == nil {
				f.log.Warn("lost the hub; going on with the last configuration and own probes", "error", errText(err))
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(redialEvery):
		}
	}
	return nil
}

func errText(err error) string {
	if err == nil {
		return "end of file"
	}
	return err.Error()
}

func (f *follower) follow(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	var refused refusal
	var sender sync.WaitGroup
	sender.Go(func() {
		out := json.NewEncoder(conn)
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			ready, draining := f.state()
			r := report{
				Service: f.service, Node: f.node, Ready: ready, Draining: draining,
				Last: f.daemon.LastRequest(), Refused: refused.get(), Pid: os.Getpid(),
			}
			if err := out.Encode(r); err != nil {
				return // the reader sees the same end
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-f.changed:
			}
		}
	})
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := readLines(conn, func(u update) {
		if u.Files != nil {
			refused.set(f.daemon.Apply(u.Name, u.Files))
		}
		if u.View != nil {
			f.daemon.SetView(u.View)
		}
	})
	stop()
	cancel()
	conn.Close()
	sender.Wait()
	return err
}

// refusal is why the daemon would not take the last Snapshot; empty when it did.
type refusal struct {
	mu   sync.Mutex // guards text
	text string
}

func (r *refusal) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = ""
	if err != nil {
		r.text = err.Error()
	}
}

func (r *refusal) get() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text
}
