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
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/health"
)

// Whatever is put, and whenever it is taken: what was taken last of each part is what was put last, nothing is invented,
// and nothing comes twice or out of order.
func TestMailboxKeepsTheNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMailbox()
		var put, taken struct{ files, view uint64 }
		take := func() {
			u := m.take()
			if u.View != nil {
				if u.View.Seq <= taken.view {
					t.Fatalf("view %d after %d", u.View.Seq, taken.view)
				}
				taken.view = u.View.Seq
			}
			if u.Files != nil {
				n := uint64(len(u.Files["n"]))
				if n <= taken.files || u.Name != fmt.Sprint(n) {
					t.Fatalf("snapshot %d named %q after %d", n, u.Name, taken.files)
				}
				taken.files = n
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"view", "files", "both", "take"}).Draw(t, "step") {
			case "take":
				take()
			case "view":
				put.view++
				m.put(update{View: &health.View{Seq: put.view}})
			case "files":
				put.files++
				m.put(update{Name: fmt.Sprint(put.files), Files: map[string][]byte{"n": make([]byte, put.files)}})
			case "both":
				put.view++
				put.files++
				m.put(update{Name: fmt.Sprint(put.files), Files: map[string][]byte{"n": make([]byte, put.files)}, View: &health.View{Seq: put.view}})
			}
		}
		select {
		case <-m.wake:
			take()
		default: // everything was taken before
		}
		take()
		if put != taken {
			t.Fatalf("put %v, taken %v", put, taken)
		}
	})
}

// linkPair is a link's hub end over a pipe, with what it heard and how it ended.
type linkPair struct {
	box   *mailbox
	far   net.Conn
	heard chan report
	gone  chan error
}

func newLinkPair(t *testing.T, hear func(report) error) *linkPair {
	t.Helper()
	near, far := net.Pipe()
	l := &linkPair{newMailbox(), far, make(chan report, 100), make(chan error, 1)}
	run(t, func(ctx context.Context) error {
		serveLink(ctx, near, l.box, func(r report) error {
			l.heard <- r
			if hear != nil {
				return hear(r)
			}
			return nil
		}, func(err error) { l.gone <- err })
		return nil
	})
	t.Cleanup(func() { far.Close() })
	return l
}

func (l *linkPair) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-l.gone:
		return err
	case <-time.After(limit):
		t.Fatal("the link did not end")
		return nil
	}
}

func TestLinkEnds(t *testing.T) {
	for _, test := range []struct {
		name, sent string
		reports    int
		want       string // the error; "" for end of file
	}{
		{"silence", "", 0, ""},
		{"reports", `{"service":"dns"}` + "\n" + `{"service":"dns","ready":true}` + "\n", 2, ""},
		{"a report cut short by death", `{"service":"dns"}` + "\n" + `{"serv`, 1, "unexpected end of JSON input"},
		{"garbage", "GET / HTTP/1.1\r\n\r\n", 0, "invalid character"},
		{"another type", `{"ready":"yes"}` + "\n", 0, "cannot unmarshal"},
		{"an unknown field of a newer version", `{"service":"dns","mood":"fine"}` + "\n", 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkLeaks(t)
			l := newLinkPair(t, nil)
			// What the hub sends is of no interest here, but a pipe has no buffer.
			if _, err := l.far.Write([]byte(test.sent)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Fatal(err)
			}
			l.far.Close()
			err := l.end(t)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if len(l.heard) != test.reports {
				t.Errorf("%d reports, want %d", len(l.heard), test.reports)
			}
		})
	}
}

func TestLinkEndsWhenTheHubHasHeardEnough(t *testing.T) {
	no := errors.New("not you")
	l := newLinkPair(t, func(report) error { return no })
	_, _ = l.far.Write([]byte(strings.Repeat(`{"service":"dns"}`+"\n", 3))) // the hub closes amid it
	if err := l.end(t); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if len(l.heard) != 1 {
		t.Errorf("%d reports were looked at after the refusal of the first", len(l.heard)-1)
	}
}

// A daemon that reads nothing (stopped, say) keeps nobody, and its death is seen all the same.
func TestLinkOfASlowReader(t *testing.T) {
	l := newLinkPair(t, nil)
	var putting sync.WaitGroup
	putting.Go(func() {
		for i := range 10_000 {
			l.box.put(update{View: &health.View{Seq: uint64(i + 1)}})
		}
	})
	putting.Wait() // put never blocks, or this does
	in := bufio.NewScanner(l.far)
	var seen []uint64
	for len(seen) == 0 || seen[len(seen)-1] != 10_000 {
		if !in.Scan() {
			t.Fatalf("the link ended after views %v: %v", seen, in.Err())
		}
		var u update
		if err := json.Unmarshal(in.Bytes(), &u); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, u.View.Seq)
	}
	if len(seen) > 3 || !slices.IsSorted(seen) {
		t.Errorf("views %v were sent; want the newest", seen)
	}
	l.box.put(update{View: &health.View{Seq: 10_001}})
	l.far.Close()
	if err := l.end(t); err != nil {
		t.Errorf("the link ended with: %v", err)
	}
}

// fakeDaemon is what a follower fills.
type fakeDaemon struct {
	mu    sync.Mutex
	views []uint64
	snaps []string
	left  int
	ready bool
}

func (d *fakeDaemon) follower(socket string) *follower {
	return &follower{
		socket: socket, service: health.Web, node: "ams1", log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1),
		state: func() report { d.mu.Lock(); defer d.mu.Unlock(); return report{Ready: d.ready} },
		apply: func(s *control.Snapshot) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.snaps = append(d.snaps, s.Topology.Name)
			return errors.New("no room")
		},
		view:  func(v *health.View) { d.mu.Lock(); defer d.mu.Unlock(); d.views = append(d.views, v.Seq) },
		left:  func() { d.mu.Lock(); defer d.mu.Unlock(); d.left++ },
		often: func() bool { return false },
	}
}

// The hub that waits for silence hears often of the last request; as soon as the drain is lifted, no more than usual. A
// restart is asked for by the same way.
func TestFollowerReportsOftenInADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, drained, restarts := &fakeDaemon{}, atomic.Bool{}, make(chan struct{}, 1)
		f := d.follower("")
		f.often = drained.Load
		f.restart = func() error { restarts <- struct{}{}; return nil }
		near, far := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = f.follow(ctx, near)
		}()
		in := bufio.NewScanner(far)
		began := time.Now()
		reports := func(until time.Duration) (n int) {
			_ = far.SetReadDeadline(began.Add(until))
			for in.Scan() {
				n++
			}
			in = bufio.NewScanner(far)
			return n
		}
		if n := reports(2010 * time.Millisecond); n != 5 {
			t.Errorf("%d reports in the first 2 s, want the first one and 4", n)
		}
		drained.Store(true)
		notify(f.changed)
		if n := reports(3020 * time.Millisecond); n != 21 {
			t.Errorf("%d reports in a second of drain, want one at once and 20", n)
		}
		drained.Store(false)
		notify(f.changed)
		if n := reports(4030 * time.Millisecond); n != 3 {
			t.Errorf("%d reports in the second after it, want one at once and 2", n)
		}
		if err := json.NewEncoder(far).Encode(update{Restart: true}); err != nil {
			t.Error(err)
		}
		<-restarts
		cancel()
		far.Close()
		<-ended
	})
}

// A daemon whose hub dies finds the next one, and says at once what it would not take.
func TestFollowerFindsItsHubAgain(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	snap, err := control.Load(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(shortDir(t), "hub.sock")
	d := &fakeDaemon{ready: true}
	run(t, d.follower(socket).run)
	for life := range 2 {
		l, err := listenLink(socket)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(conn)
		if !in.Scan() || !strings.Contains(in.Text(), `"ready":true`) {
			t.Fatalf("got %q, want a report", in.Text())
		}
		if err := json.NewEncoder(conn).Encode(update{Name: "lab", Files: snap.Files, View: &health.View{Seq: uint64(life + 1)}}); err != nil {
			t.Fatal(err)
		}
		for !strings.Contains(in.Text(), "no room") {
			if !in.Scan() {
				t.Fatal("the refusal was not reported")
			}
		}
		conn.Close()
		l.Close()
		await(t, "the end to be noticed", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.left == life+1 })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.views, []uint64{1, 2}) || !slices.Equal(d.snaps, []string{"lab", "lab"}) {
		t.Errorf("got views %v and snapshots %v", d.views, d.snaps)
	}
}

// A hub that refuses is no hub: the daemon goes on alone and does not knock five times a second for ever.
func TestFollowerThatIsRefused(t *testing.T) {
	socket := filepath.Join(shortDir(t), "hub.sock")
	l, err := listenLink(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := &fakeDaemon{}
	run(t, d.follower(socket).run)
	var knocks []time.Time
	for range 3 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		knocks = append(knocks, time.Now())
		refuse(conn, errors.New("another one is attached"))
		conn.Close()
	}
	if first, second := knocks[1].Sub(knocks[0]), knocks[2].Sub(knocks[1]); first < redialEvery || second < first {
		t.Errorf("it waited %v, then %v", first, second)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left != 0 {
		t.Error("it took a refusal for a hub that was there")
	}
}
