package wire

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	pop     = netip.MustParseAddrPort("169.254.0.0:40001")
	transit = netip.MustParseAddrPort("169.254.0.1:179")
)

// frame is an Ethernet frame with one TCP segment over IPv4.
func frame(from, to netip.AddrPort, seq uint32, flags byte, payload []byte) []byte {
	f := make([]byte, ethernetBytes+40, ethernetBytes+40+len(payload))
	binary.BigEndian.PutUint16(f[12:], etherIPv4)
	ip := f[ethernetBytes:]
	ip[0], ip[9] = 0x45, protoTCP
	binary.BigEndian.PutUint16(ip[2:], uint16(40+len(payload)))
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp, from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12], tcp[13] = 5<<4, flags
	return append(f, payload...)
}

func bgp(kind byte, body []byte) []byte {
	m := slices.Repeat([]byte{0xff}, 16)
	m = binary.BigEndian.AppendUint16(m, uint16(headBytes+len(body)))
	return append(append(m, kind), body...)
}

func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// four announces 192.0.2.0/24 with communities, six 2001:db8:53::/48 by MP_REACH_NLRI.
func four(communities ...uint32) []byte {
	var value []byte
	for _, c := range communities {
		value = binary.BigEndian.AppendUint32(value, c)
	}
	attrs := append([]byte{0xc0, attrCommunities, byte(len(value))}, value...)
	return bgp(typeUpdate, slices.Concat(sized(nil), sized(attrs), []byte{24, 192, 0, 2}))
}

func six(kind byte) []byte {
	prefix := []byte{48, 0x20, 0x01, 0x0d, 0xb8, 0, 0x53}
	value := []byte{0, 2, 1}
	if kind == attrReach {
		value = append(append(append(value, 16), make([]byte, 16)...), 0)
	}
	value = append(value, prefix...)
	return bgp(typeUpdate, slices.Concat(sized(nil), sized(append([]byte{0x90, kind, 0, byte(len(value))}, value...))))
}

func TestASessionOffACable(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:53::/48")
	said := slices.Concat(
		bgp(1, []byte{4, 0, 0, 0, 9, 0, 0, 0, 0, 0}), bgp(4, nil), four(), six(attrReach), four(0xfbf00001, gshut),
		bgp(typeUpdate, slices.Concat(sized([]byte{24, 192, 0, 2}), sized(nil))), six(attrUnreach), bgp(typeNotification, []byte{6, 2}),
	)
	want := []Event{
		{Kind: Announce, Prefix: v4, Update: 1},
		{Kind: Announce, Prefix: v6, Update: 2},
		{Kind: Announce, Prefix: v4, GSHUT: true, Update: 3},
		{Kind: Withdraw, Prefix: v4, Update: 4},
		{Kind: Withdraw, Prefix: v6, Update: 5},
		{Kind: Notification},
		{Kind: Fin},
	}
	began := time.Now()
	for i := range want {
		want[i].From, want[i].To = pop, transit
	}
	// However TCP cuts it, and whatever it sends twice.
	rapid.Check(t, func(t *rapid.T) {
		var d Decoder
		var got []Event
		take := func(f []byte) {
			for _, e := range d.Frame(began, f) {
				if !e.At.Equal(began) {
					t.Fatalf("at %v, want %v", e.At, began)
				}
				e.At = time.Time{}
				got = append(got, e)
			}
		}
		seq := rapid.Uint32().Draw(t, "seq") // it wraps around, too
		take(frame(pop, transit, seq, flagSYN, nil))
		seq++
		for at := 0; at < len(said); {
			n := rapid.IntRange(1, len(said)-at).Draw(t, "n")
			again := rapid.IntRange(0, at).Draw(t, "again")
			take(frame(pop, transit, seq+uint32(at-again), 0, said[at-again:at+n]))
			at += n
		}
		take(frame(pop, transit, seq+uint32(len(said)), flagFIN, nil))
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Fatalf("events (-want +got):\n%s", diff)
		}
	})
}

func TestWhatBeganBeforeIsReadFromTheNextMessage(t *testing.T) {
	var d Decoder
	if got := d.Frame(time.Now(), frame(pop, transit, 1000, 0, four())); len(got) != 1 || got[0].Kind != Announce {
		t.Errorf("a stream that is joined at a message says %v", got)
	}
	if got := d.Frame(time.Now(), frame(transit, pop, 1000, 0, []byte("no BGP at all"))); got != nil {
		t.Errorf("what is no BGP says %v", got)
	}
	if got := d.Frame(time.Now(), frame(transit, pop, 1013, flagRST, nil)); len(got) != 1 || got[0].Kind != Reset {
		t.Errorf("its reset says %v", got)
	}
	if IsBGP(frame(netip.MustParseAddrPort("192.0.2.1:80"), pop, 0, 0, nil)) || !IsBGP(frame(transit, pop, 0, 0, nil)) {
		t.Error("BGP is what has port 179 at either end")
	}
}

// Nothing that crosses a cable breaks the decoder.
func FuzzFrame(f *testing.F) {
	f.Add(frame(pop, transit, 7, 0, four()), frame(pop, transit, 7+uint32(len(four())), 0, six(attrReach)))
	f.Add(frame(pop, transit, 7, flagSYN, nil), frame(pop, transit, 8, 0, bgp(typeNotification, nil)))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var d Decoder
		for _, one := range [][]byte{a, b, a} {
			for _, e := range d.Frame(time.Now(), one) {
				if (e.Kind == Announce || e.Kind == Withdraw) && !e.Prefix.IsValid() {
					t.Errorf("event %+v", e)
				}
			}
		}
	})
}

func FuzzUpdate(f *testing.F) {
	f.Add(four(gshut)[headBytes:])
	f.Add(six(attrReach)[headBytes:])
	f.Add(six(attrUnreach)[headBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, e := range update(body) {
			if !e.Prefix.IsValid() || e.Prefix != e.Prefix.Masked() {
				t.Errorf("prefix %v", e.Prefix)
			}
		}
	})
}
