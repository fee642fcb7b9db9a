//go:build linux

package arrivals

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const (
	testLo  = 1
	testEth = 7
)

// passes runs the filter on a packet as the kernel would. The machine of package bpf knows no extensions, so they become
// what they would load.
func passes(t rapid.TB, prefixes []netip.Prefix, kind, iface uint32, to netip.Addr) bool {
	t.Helper()
	packet, protocol := make([]byte, 40), uint32(unix.ETH_P_IPV6)
	copy(packet[destination6:], to.AsSlice())
	if to.Is4() {
		packet, protocol = make([]byte, 20), unix.ETH_P_IP
		copy(packet[destination4:], to.AsSlice())
	}
	program := filter(prefixes, testLo)
	if _, err := bpf.Assemble(program); err != nil {
		t.Fatal(err)
	}
	for i, in := range program {
		if e, ok := in.(bpf.LoadExtension); ok {
			program[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: map[bpf.Extension]uint32{
				bpf.ExtType: kind, bpf.ExtInterfaceIndex: iface, bpf.ExtProto: protocol,
			}[e.Num]}
		}
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func TestFilterPassesWhatIsForUs(t *testing.T) {
	ours := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:53::/48"), netip.MustParsePrefix("198.51.100.7/32")}
	for _, test := range []struct {
		name        string
		kind, iface uint32
		to          string
		want        bool
	}{
		{"ours", unix.PACKET_HOST, testEth, "192.0.2.80", true},
		{"ours, a host's prefix", unix.PACKET_HOST, testEth, "198.51.100.7", true},
		{"ours, IPv6", unix.PACKET_HOST, testEth, "2001:db8:53:ffff::1", true},
		{"another's", unix.PACKET_HOST, testEth, "192.0.3.80", false},
		{"another's, IPv6", unix.PACKET_HOST, testEth, "2001:db8:54::1", false},
		{"what we send", unix.PACKET_OUTGOING, testEth, "192.0.2.80", false},
		{"a probe of this host", unix.PACKET_HOST, testLo, "192.0.2.80", false},
	} {
		if got := passes(t, ours, test.kind, test.iface, netip.MustParseAddr(test.to)); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}

// The filter agrees with netip on any prefixes and addresses.
func TestFilterAgreesWithPrefixes(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		var b [16]byte
		binary.BigEndian.PutUint32(b[12:], rapid.Uint32Range(0, 7).Draw(t, "low")<<rapid.IntRange(0, 29).Draw(t, "shift"))
		if rapid.Bool().Draw(t, "v4") {
			return netip.AddrFrom4([4]byte(b[12:]))
		}
		b[0], b[5], b[9] = 0x20, rapid.Byte().Draw(t, "middle")&1, rapid.Byte().Draw(t, "later")&1
		return netip.AddrFrom16(b)
	})
	rapid.Check(t, func(t *rapid.T) {
		var ours []netip.Prefix
		for range rapid.IntRange(1, 6).Draw(t, "prefixes") {
			a := address.Draw(t, "prefix")
			p, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
			if err != nil {
				t.Fatal(err)
			}
			ours = append(ours, p)
		}
		to, want := address.Draw(t, "to"), false
		for _, p := range ours {
			want = want || p.Contains(to)
		}
		if got := passes(t, ours, unix.PACKET_HOST, testEth, to); got != want {
			t.Fatalf("%v in %v: got %v", to, ours, got)
		}
	})
}
