package bfd

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wireUp is what FRR 8.4's bfdd sends: Up, Poll, three times 50 ms.
var wireUp = []byte{ //nolint:gochecknoglobals // a constant
	0x20, 0xe0, 3, 24, 0, 0, 0, 7, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50,
}

func TestParse(t *testing.T) {
	with := func(at int, values ...byte) []byte {
		b := bytes.Clone(wireUp)
		copy(b[at:], values)
		return b
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want Discard
	}{
		{"as it is", wireUp, Taken},
		{"with something behind it", append(bytes.Clone(wireUp), 1, 2, 3), Taken},
		{"nothing", nil, BadLength},
		{"version 0", with(0, 0), BadVersion},
		{"version 2, and short", []byte{0x40}, BadVersion},
		{"short", wireUp[:23], BadLength},
		{"length 23", with(3, 23), BadLength},
		{"length beyond the payload", with(3, 25), BadLength},
		{"authentication without its section", with(1, 0xe4), BadLength},
		{"multiplier 0", with(2, 0), BadMultiplier},
		{"multipoint", with(1, 0xe1), Multipoint},
		{"my discriminator 0", with(4, 0, 0, 0, 0), BadMyDiscr},
		{"your discriminator 0 and up", with(8, 0, 0, 0, 0), BadState},
		{"your discriminator 0 and init", with(1, 0x80, 3, 24, 0, 0, 0, 7, 0, 0, 0, 0), BadState},
		{"your discriminator 0 and down", with(1, 0x40, 3, 24, 0, 0, 0, 7, 0, 0, 0, 0), Taken},
		{"your discriminator 0 and admin down", with(1, 0x00, 3, 24, 0, 0, 0, 7, 0, 0, 0, 0), Taken},
		{"all wrong: the version counts first", with(0, 0, 0xff, 0, 0, 0, 0, 0, 0), BadVersion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := Parse(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	got, _ := Parse(wireUp)
	want := Packet{
		State: Up, Poll: true, Multiplier: 3, MyDiscr: 7, YourDiscr: 0xcafebabe,
		DesiredMinTx: 50 * time.Millisecond, RequiredMin: 50 * time.Millisecond, RequiredMinEcho: 50 * time.Millisecond,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is taken and has no authentication is written as it was read, reserved bits aside.
func FuzzParse(f *testing.F) {
	f.Add(wireUp)
	f.Add(wireUp[:20])
	f.Add(append([]byte{0x21, 0x44, 3, 26}, make([]byte, 22)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, why := Parse(b)
		if why != Taken || p.Auth {
			return
		}
		out := p.Append(nil)
		back, why := Parse(out)
		if why != Taken {
			t.Fatalf("what we write of %x is not taken: %q", b, why)
		}
		if diff := cmp.Diff(p, back); diff != "" {
			t.Fatalf("(-read +read again):\n%s", diff)
		}
		if want := append(bytes.Clone(b[:3]), packetSize); !bytes.Equal(out[:4], want) || !bytes.Equal(out[4:], b[4:packetSize]) {
			t.Fatalf("read %x, wrote %x", b, out)
		}
	})
}
