package node

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd"
)

// purgeAt purges by a node's admin socket.
func purgeAt(t *testing.T, socket string, what popd.PurgeRequest) (popd.Purged, error) {
	t.Helper()
	var done popd.Purged
	err := admin.Client{Socket: socket}.Post(t.Context(), PurgePath, what, &done)
	return done, err
}

// A purge at the hub's admin socket reaches the cache in its own process, and what the cache refuses comes back.
func TestPurgeOverTheLink(t *testing.T) {
	checkLeaks(t)
	w := newWorld(t)
	oh := w.options("nyc1")
	h, err := NewHub(oh)
	if err != nil {
		t.Fatal(err)
	}
	run(t, h.Run)
	await(t, "the admin socket", func() bool { return admin.Answers(h.hub.o.Admin, time.Second) })
	if _, err := purgeAt(t, h.hub.o.Admin, popd.PurgeRequest{Keys: []string{"a"}}); err == nil || !strings.Contains(err.Error(), "no cache runs") {
		t.Errorf("without popd: %v", err)
	}
	o := w.options("nyc1")
	o.Hub = oh.linkSocket()
	s, err := NewService(o, health.Web)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.Run)
	await(t, "popd to be up", func() bool { return upView(h.hub, health.Web) })
	for generation := uint64(1); generation <= 3; generation++ {
		done, err := purgeAt(t, h.hub.o.Admin, popd.PurgeRequest{URL: "http://www.shop.example/a"})
		if err != nil || done.Node != "nyc1" || done.Generation != generation {
			t.Errorf("purge %d: %+v, %v", generation, done, err)
		}
	}
	var refused *admin.Error
	if _, err := purgeAt(t, h.hub.o.Admin, popd.PurgeRequest{URL: "http://elsewhere.example/"}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "no site here") {
		t.Errorf("another's URL: %v", err)
	}
}

// Who waits for a link that says nothing is told so, and leaves nothing behind.
func TestPurgeOverASilentLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p purges
		box := newMailbox()
		if _, err := p.ask(t.Context(), box, popd.PurgeRequest{Keys: []string{"a"}}); err == nil || !strings.Contains(err.Error(), "ask again") {
			t.Errorf("got %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.ask(gone, box, popd.PurgeRequest{Keys: []string{"b"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if len(p.waiting) != 0 {
			t.Errorf("%d still wait", len(p.waiting))
		}
		orders := box.take().Purge
		if len(orders) != 2 || orders[0].What.Keys[0] != "a" || orders[1].What.Keys[0] != "b" {
			t.Errorf("orders %+v, want both, in order", orders)
		}
		p.heard([]purgeDone{{ID: orders[0].ID}}) // too late: nobody waits
	})
}

func TestServePurgeRefuses(t *testing.T) {
	w := newWorld(t)
	n, err := New(w.options("nyc1"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, n.Run)
	socket := n.hub.o.Admin
	await(t, "the admin socket", func() bool { return admin.Answers(socket, time.Second) })
	if done, err := purgeAt(t, socket, popd.PurgeRequest{Keys: []string{"shoes"}, Site: "shop", Soft: true}); err != nil || done.Generation != 1 {
		t.Errorf("in one process: %+v, %v", done, err)
	}
	err = admin.Client{Socket: socket}.Post(t.Context(), PurgePath, "shoes", nil)
	var refused *admin.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("no request at all: %v", err)
	}
}
