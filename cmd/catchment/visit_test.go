package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDigArgs(t *testing.T) {
	both := []netip.Prefix{netip.MustParsePrefix("198.51.100.0/27"), netip.MustParsePrefix("2001:db8:c1::/48")}
	for _, c := range []struct {
		name     string
		prefixes []netip.Prefix
		args     string
		want     string
	}{
		{"the client's own subnet", both, "www.shop.example", "www.shop.example +subnet=198.51.100.0/27"},
		{"that of the family asked for", both, "www.shop.example aaaa +short", "www.shop.example aaaa +short +subnet=2001:db8:c1::/48"},
		{"the only one there is", both[:1], "www.shop.example AAAA", "www.shop.example AAAA +subnet=198.51.100.0/27"},
		{"none at all", nil, "www.shop.example", "www.shop.example"},
		{"one that is given", both, "www.shop.example +subnet=192.0.2.0/24", "www.shop.example +subnet=192.0.2.0/24"},
		{"dig's other name for it", both, "www.shop.example +client=192.0.2.0/24", "www.shop.example +client=192.0.2.0/24"},
		{"none wanted", both, "www.shop.example +nosubnet", "www.shop.example +nosubnet"},
		{"a name like the option", both, "subnet.shop.example", "subnet.shop.example +subnet=198.51.100.0/27"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := digArgs("127.0.0.1:21001", c.prefixes, strings.Fields(c.args))
			if want := "@127.0.0.1 -p 21001 " + c.want; err != nil || strings.Join(got, " ") != want {
				t.Errorf("got %q, %v; want %q", strings.Join(got, " "), err, want)
			}
		})
	}
	if _, err := digArgs("nowhere", nil, nil); err == nil {
		t.Error("an access port without a port is taken")
	}
}

func TestRest(t *testing.T) {
	for in, want := range map[string]string{"": "", "-v": "-v", "-- -v": "-v", "-v -- -x": "-v -x"} {
		if got := strings.Join(rest(strings.Fields(in)), " "); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// A capture that is refused leaves no file.
func TestLateFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.pcap")
	f := &lateFile{name: name}
	if _, err := f.Write(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a file without a byte is there")
	}
	if _, err := f.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(name); string(text) != "abc" || f.bytes != 3 {
		t.Errorf("got %q, %d bytes, %v", text, f.bytes, err)
	}
}
