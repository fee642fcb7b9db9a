package fabric

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

func TestPeopleGetInAsIfTheySatInTheNetwork(t *testing.T) {
	m := newModel()
	for _, l := range m.topo.Internet.Links {
		l.Delay /= 100
	}
	f := m.fabric(t, Options{})
	serve(listen(t, at(f, "ams1"), "192.0.2.53:53"), func(c net.Conn) {
		_, _ = io.Copy(io.Discard, c) // the caller's half close must arrive
		_, _ = c.Write([]byte(c.RemoteAddr().(*net.TCPAddr).IP.String()))
		c.Close()
	})
	pc, err := at(f, "ams1").ListenPacket(t.Context(), "udp", "192.0.2.53:53")
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
			_, _ = pc.WriteTo(append(b[:n:n], from.(*net.UDPAddr).IP.String()...), from)
		}
	}()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- f.AccessTCP(ctx, "berlin", l, mustAddrPort("192.0.2.53:53")) }()
	go func() { ended <- f.AccessUDP(ctx, "berlin", door, mustAddrPort("192.0.2.53:53")) }()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	_, _ = c.Write([]byte("question"))
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "198.51.100.1" {
		t.Errorf("stream: the node saw %q, %v; want berlin's first host", b, err)
	}
	for _, who := range []string{"one ", "two "} {
		u, err := net.Dial("udp", door.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		_ = u.SetDeadline(time.Now().Add(limit))
		_, _ = u.Write([]byte(who))
		b := make([]byte, 64)
		if n, err := u.Read(b); err != nil || string(b[:n]) != who+"198.51.100.1" {
			t.Errorf("datagram: got %q, %v", b[:n], err)
		}
	}
	idle, err := net.Dial("tcp", l.Addr().String())
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
	if err := f.AccessTCP(t.Context(), "paris", l, mustAddrPort("192.0.2.53:53")); err == nil {
		t.Error("an access port to a network that is not there: no error")
	}
}
