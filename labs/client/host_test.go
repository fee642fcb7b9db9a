package client

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs"
)

// The same client over the host's own sockets: a name server and a web server on loopback.
func TestOverRealSockets(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	answer := zone(60, nsidAMS, "127.0.0.1")
	srv := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(answer(q, false))
	})}
	served := make(chan error, 1)
	go func() { served <- srv.ActivateAndServe() }()
	<-started
	defer func() {
		if err := srv.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	web := httptest.NewServer(pop(t, "nyc1"))
	defer web.Close()

	c := newClient(t, nil, func(o *Options) {
		o.Net, o.Mono = underlay.Host{}, event.Mono
		o.Servers = []netip.AddrPort{netip.MustParseAddrPort(pc.LocalAddr().String())}
		o.Total, o.DNSTimeout, o.DialWithin = 20*time.Second, 10*time.Second, 10*time.Second // a busy machine is no failure
	})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/account", "/static/x?size=1048576"} {
		load := labs.Load{Name: "big", URL: fmt.Sprintf("http://www.shop.example:%s%s", port, path)}
		if s := c.Do(ctx, load); !s.OK || s.POP != "nyc" || s.DNSNode != "ams1" {
			t.Errorf("%s: ok %v, POP %q, name server %q, error %q; want a good answer of nyc, told by ams1", path, s.OK, s.POP, s.DNSNode, s.Error)
		}
	}
}
