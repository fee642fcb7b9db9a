//go:build linux

package speaker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// MD5 and GTSM on the wire, with gobgp, BIRD and FRR at the other end, for both ends as the one that dials: what should
// come up does, and what should not never does although the kernel has seen and dropped its segments.
func TestProtectionOnTheWire(t *testing.T) {
	if !inside(t) {
		return
	}
	right := protected{password: "correct-horse"}
	far := protected{hops: 64}
	n := 0
	for _, software := range []string{"ours", "bird", "frr"} {
		for _, test := range []struct {
			name     string
			us, them protected
			up       bool
		}{
			{"the right key", right, right, true},
			{"a wrong key", right, protected{password: "battery-staple"}, false},
			{"no key at the other end", right, protected{}, false},
			{"no key at our end", protected{}, right, false},
			{"ttl security", protected{gtsm: true}, protected{gtsm: true}, true},
			{"a lower ttl at the other end", protected{gtsm: true}, far, false},
			{"both", protected{password: "x", gtsm: true}, protected{password: "x", gtsm: true}, true},
		} {
			for _, weDial := range []bool{true, false} {
				n++
				i := n
				if !allRoles && software != "ours" && (n/2)%2 == n%2 {
					continue
				}
				role := map[bool]string{true: "we dial", false: "we accept"}[weDial]
				t.Run(strings.Join([]string{software, test.name, role}, "/"), func(t *testing.T) {
					if !installed(software) {
						t.Skip(software + " is not installed")
					}
					t.Parallel()
					here, there := newHost(t, fmt.Sprintf("a%d", i)), newHost(t, fmt.Sprintf("b%d", i))
					us := end{
						local: netip.MustParseAddr("198.18.0.1"), remote: netip.MustParseAddr("198.18.0.2"), localAS: 64500, peer: 64496,
						passive: !weDial, protected: test.us,
					}
					if i%3 == 0 {
						us.local, us.remote = netip.MustParseAddr("2001:db8:18::1"), netip.MustParseAddr("2001:db8:18::2")
					}
					join(t, here, us.local.String(), there, us.remote.String())
					them := us.other(weDial)
					them.protected = test.them
					them.run(t, there, software)
					proves(t, us.run(t, here, "ours"), test.up, here, there)
				})
			}
		}
	}
	t.Run("two hops away", func(t *testing.T) {
		t.Parallel()
		here, router, there := newHost(t, "near"), newHost(t, "router"), newHost(t, "far")
		join(t, here, "198.18.0.1", router, "198.18.0.2")
		join(t, router, "198.18.1.1", there, "198.18.1.2")
		here.sh(t, "ip route add default via 198.18.0.2")
		there.sh(t, "ip route add default via 198.18.1.1")
		us := end{
			local: netip.MustParseAddr("198.18.0.1"), remote: netip.MustParseAddr("198.18.1.2"), localAS: 64500, peer: 64496,
			protected: protected{gtsm: true},
		}
		us.other(true).run(t, there, "ours")
		proves(t, us.run(t, here, "ours"), false, here, there)
	})
}

// enough is how many segments must have been dropped before we believe that a session does not come up: one and its
// retransmission.
const enough = 2

func proves(t *testing.T, us *process, up bool, hosts ...host) {
	t.Helper()
	if up {
		await(t, "session", func() bool { return us.was(Established) })
		return
	}
	await(t, "dropped segments", func() bool {
		n := 0
		for _, h := range hosts {
			n += h.refused(t)
		}
		return n >= enough || us.was(Established)
	})
	if us.was(Established) {
		t.Error("the session came up")
	}
}

// Nothing that a neighbour with GTSM sends with a lower TTL reaches us, not even what it sends before its connection has
// been accepted; other neighbours of the same listener are not concerned.
func TestLowTTLIsNotEvenAccepted(t *testing.T) {
	near := Neighbor{Name: "near", Address: addrB, ASN: 64496, Local: addrA, Passive: true, TTLSecurity: true}
	far := Neighbor{Name: "far", Address: addrC, ASN: 64497, Local: addrA, Passive: true, Multihop: 64}
	if err := canFilter(t); err != nil {
		t.Skipf("neighbours with and without TTL security on one listener: %v", err)
	}
	hub, _ := listen(t, Options{ASN: 64500, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{near, far}})
	run(t, hub)
	await(t, "both wait", func() bool { return hub.Neighbors()[0].State == Active && hub.Neighbors()[1].State == Active })
	dial := func(from netip.Addr, asn uint32) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: 300 * time.Millisecond} // its TTL is 64
		conn, err := d.Dial("tcp", hub.Addrs()[0].String())
		if err == nil {
			p := &rawPeer{asn: asn}
			_, err = conn.Write(append(p.openMessage(), rawMessage(msgKeepalive, nil)...))
			t.Cleanup(func() { conn.Close() })
		}
		return conn, err
	}
	if _, err := dial(addrB, near.ASN); err == nil {
		t.Error("the connection was accepted")
	}
	if _, err := dial(addrC, far.ASN); err != nil {
		t.Errorf("a neighbour without TTL security: %v", err)
	}
	await(t, "the session with the neighbour without TTL security", func() bool { return hub.Neighbors()[1].State == Established })
	if got := hub.Neighbors()[0].State; got != Active {
		t.Errorf("the neighbour with TTL security is %s", got)
	}
	plain := near
	plain.TTLSecurity = false
	if err := hub.SetNeighbors([]Neighbor{plain, far}); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(addrB, near.ASN); err != nil {
		t.Errorf("TTL security was taken away: %v", err)
	}
	far.Multihop, far.TTLSecurity = 0, true
	if err := hub.SetNeighbors([]Neighbor{near, far}); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(addrC, far.ASN); err == nil {
		t.Error("TTL security was added and the connection accepted")
	}
}

// canFilter says why this host lets us attach no filter to a listener.
func canFilter(t *testing.T) error {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return attach(fd, ttlFilter(true, nil))
}

// Without rights neighbours that all have TTL security, or none, are fine.
func TestTTLSecurityOfAll(t *testing.T) {
	near := Neighbor{Name: "near", Address: addrB, ASN: 64496, Local: addrA, Passive: true, TTLSecurity: true}
	hub, _ := listen(t, Options{ASN: 64500, RouterID: addrA, Listen: at(addrA), Neighbors: []Neighbor{near}})
	run(t, hub)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: addrB.AsSlice()}, Timeout: 300 * time.Millisecond} // its TTL is 64
	if _, err := d.Dial("tcp", hub.Addrs()[0].String()); err == nil {
		t.Error("a connection with a low TTL was accepted")
	}
	near.TTLSecurity = false
	if err := hub.SetNeighbors([]Neighbor{near}); err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial("tcp", hub.Addrs()[0].String())
	if err != nil {
		t.Fatalf("TTL security was taken away: %v", err)
	}
	conn.Close()
}

// What the kernel refuses ends the start, and keeps a neighbour that is added later away; it is never a log line alone.
func TestProtectionThatCannotBeSet(t *testing.T) {
	refuse := func(n Neighbor) error {
		if n.Password != "" {
			return errors.New("no MD5 here")
		}
		return nil
	}
	plain := Neighbor{Name: "r1", Address: addrB, ASN: 64496}
	signed := plain
	signed.Password = "x"
	s, err := New(Options{ASN: 64500, RouterID: addrA, Neighbors: []Neighbor{signed}, tryProtection: refuse})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no MD5 here") {
		t.Errorf("the start: got %v, want an error that says what is missing", err)
	}
	if s, err = New(Options{ASN: 64500, RouterID: addrA, Neighbors: []Neighbor{plain}, tryProtection: refuse}); err != nil {
		t.Fatal(err)
	}
	run(t, s)
	if err := s.SetNeighbors([]Neighbor{signed}); err == nil || !strings.Contains(err.Error(), "no MD5 here") {
		t.Errorf("a change: got %v, want an error that says what is missing", err)
	}
	for _, n := range []Neighbor{signed, {Name: "r2", Address: addrC, TTLSecurity: true}, {Name: "r3", Address: netip.MustParseAddr("2001:db8::1"), Password: "x", TTLSecurity: true}} {
		if err := tryProtection(n); err != nil {
			t.Errorf("this kernel: %v", err)
		}
	}
}
