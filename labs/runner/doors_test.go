package runner

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

func TestPeopleGetInAsIfTheySatInTheNetwork(t *testing.T) {
	const limit = 10 * time.Second
	inside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	to := netip.MustParseAddrPort(inside.Addr().String())
	go func() {
		c, err := inside.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c) // the caller's half close must arrive
		_, _ = c.Write([]byte("answer"))
		c.Close()
		idle, err := inside.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, idle)
	}()
	pc, err := net.ListenPacket("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append(b[:n:n], "answer"...), from)
		}
	}()
	all, err := OpenDoors(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := all[0]
	defer d.HTTP.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- openTCP(ctx, underlay.Host{}, d.DNS, to) }()
	go func() { ended <- openUDP(ctx, underlay.Host{}, d.DNSUDP, to) }()

	c, err := net.Dial("tcp", d.DNS.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	_, _ = c.Write([]byte("question"))
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "answer" {
		t.Errorf("stream: got %q, %v", b, err)
	}
	for _, who := range []string{"one ", "two "} {
		u, err := net.Dial("udp", d.DNSUDP.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		_ = u.SetDeadline(time.Now().Add(limit))
		_, _ = u.Write([]byte(who))
		b := make([]byte, 64)
		if n, err := u.Read(b); err != nil || string(b[:n]) != who+"answer" {
			t.Errorf("datagram: got %q, %v", b[:n], err)
		}
	}
	idle, err := net.Dial("tcp", d.DNS.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	_ = idle.SetDeadline(time.Now().Add(limit))
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("a guest is still in")
	}
}
