package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/health"
)

// The link joins a daemon's process to its hub over the hub's unix socket, one JSON object a line:
//
//	daemon                                   hub
//	  │── report {service, node, ready …} ───►│  the hub begins to probe the service once it is ready
//	  │◄── update {snapshot, view} ───────────│  whole Snapshots and Views; only the newest is ever sent
//	  │◄── update {purge} ────────────────────│  each of them, answered in the next report
//	  │── report {ready, draining, last …} ──►│  every half second, often in a drain, and on each change
//	  │                  ✕                    │  end of file: the daemon is dead, the hub withdraws at once
//
// The end of file is the lifeline: the kernel reports it within microseconds of a death, however sudden.

// How often a daemon tells its hub how it is, without a change: usually, and while its node is drained, when the hub waits
// for the last client's request and must not take half a second of ignorance for silence.
const (
	reportEvery = 500 * time.Millisecond
	reportOften = 50 * time.Millisecond
)

// The limits of one line of the link, in bytes: a Snapshot with all its zones, which JSON makes larger by a third, and a
// View.
const (
	maxSnapshot = 160 << 20
	maxLine     = 256 << 20
)

// update is what goes down the link. An absent field has not changed.
type update struct {
	Name  string            `json:"name,omitempty"`  // the configuration's name
	Files map[string][]byte `json:"files,omitempty"` // the Snapshot as its documents
	View  *health.View      `json:"view,omitempty"`

	Restart bool         `json:"restart,omitempty"` // the daemon is to begin anew
	Purge   []purgeOrder `json:"purge,omitempty"`   // the cache is to forget; all of them arrive, in order

	Refuse string `json:"refuse,omitempty"` // the hub does not want this daemon, and why; the connection ends
}

// report is what goes up the link.
type report struct {
	Service  health.Service `json:"service"`
	Node     string         `json:"node"`
	Ready    bool           `json:"ready"`    // it listens
	Draining bool           `json:"draining"` // it wants no new clients
	Last     time.Time      `json:"last"`     // when its last client request on an anycast address arrived
	Requests uint64         `json:"requests"` // how many there were of those
	Refused  string         `json:"refused,omitempty"`
	Purged   []purgeDone    `json:"purged,omitempty"` // since the last report
	Pid      int            `json:"pid,omitempty"`
}

// mailbox holds the newest update that has not been sent yet. Put never blocks; a newer part replaces an older one, but
// for purges, which queue up (at most maxPurges).
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
	m.next.Restart = m.next.Restart || u.Restart
	m.next.Purge = append(m.next.Purge, u.Purge...)
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

// serveLink is the hub's end of one connection: it sends what box gets and hands reports to hear until that returns an
// error or the connection ends. Then it calls gone, at once: the end is the daemon's death unless ctx is done.
func serveLink(ctx context.Context, conn net.Conn, box *mailbox, hear func(report) error, gone func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
	defer stop()
	gone(readLines(conn, hear))
	cancel()
	conn.Close()
	sender.Wait()
}

// peerPID is the process at the other end of a unix connection, by the word of the kernel, which knows our PID namespace;
// 0 where it does not say.
func peerPID(conn net.Conn) int {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	if err := raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	}); err != nil {
		return 0
	}
	return pid
}

// refuse tells a daemon why it may not join. Nothing else has been sent on its connection.
func refuse(conn net.Conn, why error) {
	_ = conn.SetWriteDeadline(time.Now().Add(refusalMax))
	_ = json.NewEncoder(conn).Encode(update{Refuse: why.Error()}) // the connection ends anyhow
}

// readLines decodes one T a line until fn returns an error or the connection ends.
func readLines[T any](conn io.Reader, fn func(T) error) error {
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for in.Scan() {
		var v T
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			return fmt.Errorf("read link: %w", err)
		}
		if err := fn(v); err != nil {
			return err
		}
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
