package cookie

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The example of the SipHash paper, Appendix A: key and input count upwards.
func TestSipHash(t *testing.T) {
	in := make([]byte, 15)
	for i := range in {
		in[i] = byte(i)
	}
	if got := sipHash(0x0706050403020100, 0x0f0e0d0c0b0a0908, in); got != 0xa129ca6149be45e5 {
		t.Errorf("got %x, want a129ca6149be45e5", got)
	}
}

// The examples of RFC 9018, Appendix A.
func TestRFC9018(t *testing.T) {
	const first, old, next = "e5e973e5a6b2a43f48e7dc849e37bfcf", "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
	for _, c := range []struct {
		section      string
		secrets      []string
		addr, option string
		checked      uint32 // when it is checked; the RFC's A.3 shows one of two hours
		valid, renew bool
		now          uint32
		want         string
	}{
		{"A.1", []string{first}, "198.51.100.100", "2464c4abcf10c957", 1559731985, false, true, 1559731985, "010000005cf79f111f8130c3eee29480"},
		{"A.2", []string{first}, "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559734385, true, true, 1559734385, "010000005cf7a871d4a564a1442aca77"},
		{"A.3, reserved bits set", []string{first}, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559727985 + 60, true, false, 1559734700, "010000005cf7a9acf73a7810aca2381e"},
		{"A.3, two hours later", []string{first}, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", 1559734700, false, true, 1559734700, "010000005cf7a9acf73a7810aca2381e"},
		{"A.4, made with the old secret", []string{next, old}, "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8", 1559741961, true, true, 1559741961, "010000005cf7c609a6bb79d16625507a"},
	} {
		t.Run(c.section, func(t *testing.T) {
			var secrets [][]byte
			for _, s := range c.secrets {
				secrets = append(secrets, unhex(t, s))
			}
			s, err := New(secrets...)
			if err != nil {
				t.Fatal(err)
			}
			addr, option := netip.MustParseAddr(c.addr), unhex(t, c.option)
			if valid, renew := s.Check(option, addr, c.checked); valid != c.valid || renew != c.renew {
				t.Errorf("valid %v, renew %v; want %v, %v", valid, renew, c.valid, c.renew)
			}
			var got [ServerSize]byte
			s.Make(&got, option[:ClientSize], addr, c.now)
			if hex.EncodeToString(got[:]) != c.want {
				t.Errorf("made %x, want %s", got, c.want)
			}
		})
	}
}

// A cookie is good for who it was made for, and as long, and no bit of it can be changed.
func TestForgery(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := New(rapid.SliceOfN(rapid.Byte(), SecretSize, SecretSize).Draw(rt, "secret"))
		if err != nil {
			rt.Fatal(err)
		}
		now := rapid.Uint32().Draw(rt, "now")
		addr := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(rt, "addr")))
		client := rapid.SliceOfN(rapid.Byte(), ClientSize, ClientSize).Draw(rt, "client")
		var server [ServerSize]byte
		s.Make(&server, client, addr, now)
		option := slices.Concat(client, server[:])
		age := rapid.Int32Range(-400, 4000).Draw(rt, "age")
		if valid, _ := s.Check(option, addr, now+uint32(age)); valid != (age >= -early && age <= lifetime) {
			rt.Fatalf("%d s old: valid %v", age, valid)
		}
		if valid, _ := s.Check(option, addr.Next(), now); valid && addr.Next().IsValid() {
			rt.Fatal("good for another address")
		}
		bit := rapid.IntRange(0, 8*len(option)-1).Draw(rt, "bit")
		option[bit/8] ^= 1 << (bit % 8)
		if valid, _ := s.Check(option, addr, now); valid {
			rt.Fatalf("good with bit %d changed", bit)
		}
	})
}

func TestParse(t *testing.T) {
	const good = "e5e973e5a6b2a43f48e7dc849e37bfcf"
	for _, c := range []struct{ text, want string }{
		{"# newest first\n" + good + "\n\n" + good + "\r\n", ""},
		{"", "f: no cookie secret"},
		{good + "\nsecret", "f:2: not a cookie secret"},
		{good[2:], "f:1: not a cookie secret"},
	} {
		_, err := Parse("f", []byte(c.text))
		switch {
		case err == nil && c.want == "":
		case err == nil || c.want == "" || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), good[2:]):
			t.Errorf("%q: error %v, want %q and no secret", c.text, err, c.want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	s, err := New(make([]byte, SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	option, addr := make([]byte, ClientSize+ServerSize), netip.MustParseAddr("192.0.2.1")
	var server [ServerSize]byte
	if n := testing.AllocsPerRun(100, func() {
		s.Make(&server, option[:ClientSize], addr, 1)
		s.Check(option, addr, 1)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	s, err := New(make([]byte, SecretSize))
	if err != nil {
		b.Fatal(err)
	}
	addr, client := netip.MustParseAddr("192.0.2.1"), make([]byte, ClientSize)
	var server [ServerSize]byte
	s.Make(&server, client, addr, 1000)
	option := slices.Concat(client, server[:])
	for b.Loop() {
		s.Check(option, addr, 1001)
	}
}
