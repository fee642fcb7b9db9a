package underlay

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestHostSpeaksFromItsLocalAddress(t *testing.T) {
	h := Host{Local: []netip.Addr{netip.MustParseAddr("127.0.0.2")}}
	l, err := h.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// By name too: an answer to the address of a link, or to a shared one, would not come back.
	for _, host := range []string{"127.0.0.1", "localhost"} {
		for _, network := range []string{"tcp", "udp"} {
			c, err := h.DialContext(ctx, network, net.JoinHostPort(host, port))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			far := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr()
			if got := netip.MustParseAddrPort(c.LocalAddr().String()).Addr(); far.Is4() && got != h.Local[0] {
				t.Errorf("%s to %s: source %v, want %v", network, host, got, h.Local[0])
			}
		}
	}
}

// A service listens on an address that comes later only where that is meant: elsewhere it is a mistake that must show.
func TestHostListensOnWhatComesLater(t *testing.T) {
	for _, address := range []string{"192.0.2.53:0", "[2001:db8:53::53]:0"} {
		if l, err := (Host{}).Listen(t.Context(), "tcp", address); err == nil {
			l.Close()
			t.Errorf("it listens on %s, which this host does not have", address)
		}
		later := Host{Freebind: true}
		l, err := later.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
		p, err := later.ListenPacket(t.Context(), "udp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		p.Close()
	}
}

func TestLabLeavesTheHostsOwnAddressesToTheHost(t *testing.T) {
	lab := &Lab{} // no runner: nothing here may ask it
	l, err := lab.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = io.WriteString(c, "hi")
			c.Close()
		}
	}()
	c, err := lab.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hi" {
		t.Errorf("got %q, %v", b, err)
	}
	pc, err := lab.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	u, err := lab.Listen(t.Context(), "unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	u.Close()
}

func TestLabRefusesAddressesThatNoNodeHas(t *testing.T) {
	lab := &Lab{}
	for _, row := range []struct{ network, address string }{
		{"tcp", "0.0.0.0:80"}, {"tcp", "[::]:80"}, {"tcp", "ams1:80"}, {"tcp", "203.0.113.1:http"}, {"tcp", "203.0.113.1:70000"}, {"udp", "203.0.113.1:80"},
	} {
		if l, err := lab.Listen(t.Context(), row.network, row.address); err == nil {
			l.Close()
			t.Errorf("listened on %s %q", row.network, row.address)
		}
	}
	for _, o := range []LabOptions{{}, {Socket: "x"}, {Node: "ams1"}} {
		if _, err := NewLab(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
