package dnsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// pauseAfterError is how long a reader waits after a failed read, so that a socket in trouble costs no whole core.
const pauseAfterError = 10 * time.Millisecond

// packets reads queries from a UDP socket and writes each answer back to its asker.
type packets interface {
	read(buf []byte) (n int, from netip.Addr, answer func([]byte) error, err error)
}

// serveUDP answers one packet after the other on a socket of any kind, until the socket is closed. A read error that is not the end (an ICMP error of an earlier answer)
// costs a pause only.
func (s *Server) serveUDP(ctx context.Context, k *socket, c net.PacketConn) error {
	p, w := openPackets(k, c), s.newWorker(s.metrics.newCounters())
	buf, out := make([]byte, maxUDPReceived), make([]byte, 0, PayloadSize)
	for {
		n, from, write, err := p.read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF):
			return fmt.Errorf("dnsd: udp %v: %w", k.addr, err)
		case err != nil:
			s.o.Logger.Debug("udp read failed", "address", k.addr, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(pauseAfterError):
			}
			continue
		}
		w.now = s.o.Now()
		if answer := w.one(buf[:n], out, asker{addr: from, anycast: k.anycast}); answer != nil {
			if err := write(answer); err != nil && ctx.Err() == nil {
				s.o.Logger.Debug("udp write failed", "address", k.addr, "client", from, "error", err)
			}
		}
	}
}

func openPackets(k *socket, conn net.PacketConn) packets {
	c, ok := conn.(*net.UDPConn)
	if !ok || !k.addr.IsUnspecified() {
		return bound{conn}
	}
	// As miekg/dns does for its own sockets: each call fails on the other family's socket, and one success is enough.
	err4 := ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	err6 := ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	if err4 != nil && err6 != nil {
		return bound{conn}
	}
	return wildcard{c}
}

// bound is a socket with one address: answers leave from it by themselves.
type bound struct{ c net.PacketConn }

func (b bound) read(buf []byte) (int, netip.Addr, func([]byte) error, error) {
	n, peer, err := b.c.ReadFrom(buf)
	if err != nil {
		return 0, netip.Addr{}, nil, err
	}
	return n, addrOf(peer), func(out []byte) error {
		_, err := b.c.WriteTo(out, peer)
		return err
	}, nil
}

// wildcard is a socket on all addresses: an answer must leave from the one that was asked.
type wildcard struct{ c *net.UDPConn }

func (w wildcard) read(buf []byte) (int, netip.Addr, func([]byte) error, error) {
	n, session, err := dns.ReadFromSessionUDP(w.c, buf)
	if err != nil {
		return 0, netip.Addr{}, nil, err
	}
	return n, addrOf(session.RemoteAddr()), func(out []byte) error {
		_, err := dns.WriteToSessionUDP(w.c, out, session)
		return err
	}, nil
}
