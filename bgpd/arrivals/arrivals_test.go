//go:build linux

package arrivals

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catchment-net/catchment/internal/testns"
)

// A packet from a cable counts, one of the host itself and one for somebody else do not.
func TestCounterCountsWhatArrives(t *testing.T) {
	if !testns.Inside(t) {
		return
	}
	if err := count(); err != nil {
		t.Error(err)
	}
}

// count plugs a cable into this namespace whose other end it holds as raw frames.
func count() error {
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "far"}
	if err := netlink.LinkAdd(cable); err != nil {
		return err
	}
	far, err := netlink.LinkByName("far")
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.LinkSetUp(cable), netlink.LinkSetUp(far)); err != nil {
		return err
	}
	vip := netip.MustParsePrefix("192.0.2.80/32")
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: vip.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		return err
	}
	near, err := net.InterfaceByName("eth1")
	if err != nil {
		return err
	}
	clock := time.Unix(0, 0)
	c, err := Open([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:53::/48")}, func() time.Time { return clock })
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	send := func(to string) error {
		return unix.Sendto(fd, frame(near.HardwareAddr, netip.MustParseAddr(to)), 0, &unix.SockaddrLinklayer{Ifindex: far.Attrs().Index})
	}
	probe := func(string) error {
		conn, err := net.Dial("udp", "192.0.2.80:9")
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte("probe"))
		return err
	}
	for _, step := range []struct {
		name    string
		do      func(string) error
		to      string
		arrives bool
	}{
		{"a request", send, "192.0.2.80", true},
		{"silence", func(string) error { return nil }, "", false},
		{"a probe of this host", probe, "", false},
		{"a packet for another", send, "198.51.100.1", false},
		{"a request over IPv6", send, "2001:db8:53::80", true},
	} {
		was := c.Last()
		clock = clock.Add(time.Second)
		if err := step.do(step.to); err != nil {
			return err
		}
		limit := time.Now().Add(2 * time.Second)
		if !step.arrives {
			limit = time.Now().Add(20 * time.Millisecond)
		}
		for c.Last().Equal(was) && time.Now().Before(limit) {
			time.Sleep(time.Millisecond)
		}
		if arrived := c.Last().Equal(clock); arrived != step.arrives {
			return errors.New(step.name + ": it counts wrongly")
		}
	}
	return nil
}

// frame is an Ethernet frame with nothing but a header of IP.
func frame(to net.HardwareAddr, dst netip.Addr) []byte {
	f := make([]byte, 14+40)
	copy(f, to)
	if dst.Is4() {
		f[12], f[13], f[14], f[17] = 0x08, 0x00, 0x45, 20
		copy(f[14+destination4:], dst.AsSlice())
		return f[:14+20]
	}
	f[12], f[13], f[14] = 0x86, 0xdd, 0x60
	copy(f[14+destination6:], dst.AsSlice())
	return f
}
