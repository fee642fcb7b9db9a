package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParsePeer(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"192.0.2.1=64500", "192.0.2.1:0 64500"},
		{"192.0.2.1:1179=64500", "192.0.2.1:1179 64500"},
		{"2001:db8::1=4200000000", "2001:db8::1:0 4200000000"},
		{"[2001:db8::1]=64500", "2001:db8::1:0 64500"},
		{"[2001:db8::1]:1179=64500", "2001:db8::1:1179 64500"},
		{"192.0.2.1", "error"},
		{"192.0.2.1=", "error"},
		{"=64500", "error"},
		{"192.0.2.1=4294967296", "error"},
		{"192.0.2.1=-1", "error"},
		{"router=64500", "error"},
		{"192.0.2.1:99999=64500", "error"},
	} {
		p, err := parsePeer(test.text)
		got := "error"
		if err == nil {
			got = fmt.Sprintf("%v:%d %d", p.Address, p.Port, p.ASN)
		} else if !strings.Contains(err.Error(), `"`+test.text+`"`) {
			t.Errorf("%q: the error does not name it: %v", test.text, err)
		}
		if got != test.want {
			t.Errorf("%q: got %s (%v), want %s", test.text, got, err, test.want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"http://127.0.0.1:8080/health", "http://127.0.0.1:8080/health"},
		{"dns://127.0.0.1/shop.example", "dns://127.0.0.1:53/shop.example.?type=SOA"},
		{"dns://[::1]:5353/", "dns://[::1]:5353/.?type=SOA"},
		{"tcp://127.0.0.1:25", "tcp://127.0.0.1:25"},
		{"tcp://127.0.0.1", ""},
		{"exec:/bin/true -v", "exec:/bin/true -v"},
		{"exec: ", ""},
		{"https://127.0.0.1/", ""},
		{"127.0.0.1:80", ""},
		{"http:///path", ""},
	} {
		target, err := parseTarget(test.text)
		if test.want == "" {
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%q: got error %v, want one that names it", test.text, err)
			}
			continue
		}
		if err != nil || target.String() != test.want {
			t.Errorf("%q: got %q, %v; want %q", test.text, target, err, test.want)
		}
	}
}

func TestParseLifeline(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"unix:/run/app.sock", "unix /run/app.sock"},
		{"tcp://127.0.0.1:80", "tcp 127.0.0.1:80"},
		{"http://127.0.0.1", "tcp 127.0.0.1:80"},
		{"http://[::1]:8080/x", "tcp [::1]:8080"},
		{"", "unix "},
		{"unix:", "error"},
		{"tcp://127.0.0.1", "error"},
		{"ftp://127.0.0.1:21", "error"},
		{"http://:80", "error"},
		{"/run/app.sock", "error"},
	} {
		network, address, err := parseLifeline(test.text)
		got := network + " " + address
		if err != nil {
			got = "error"
		}
		if got != test.want {
			t.Errorf("%q: got %s (%v), want %s", test.text, got, err, test.want)
		}
	}
}

func TestParseSpeakerFlags(t *testing.T) {
	type flags struct{ id, peers, announce, hops, listen []string }
	good := flags{[]string{"192.0.2.1"}, []string{"192.0.2.9=64496"}, []string{"198.51.100.0/24"}, []string{"192.0.2.1"}, []string{"127.0.0.1:1179"}}
	for _, test := range []struct {
		name  string
		alter func(*flags)
		want  []string // parts of the error; none for no error
	}{
		{"good", func(*flags) {}, nil},
		{"no router id", func(f *flags) { f.id = nil }, []string{"--router-id"}},
		{"two router ids", func(f *flags) { f.id = append(f.id, "192.0.2.2") }, []string{"once"}},
		{"host bits", func(f *flags) { f.announce = []string{"198.51.100.1/24"} }, []string{"198.51.100.1/24", "did you mean 198.51.100.0/24?"}},
		{"no prefix", func(f *flags) { f.announce = []string{"198.51.100.0"} }, []string{`--announce "198.51.100.0"`}},
		{"every mistake at once", func(f *flags) {
			f.peers, f.hops, f.listen = []string{"nobody"}, []string{"nowhere"}, []string{":179"}
		}, []string{`--peer "nobody"`, `--next-hop "nowhere"`, `--listen ":179"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := good
			test.alter(&f)
			err := (&StandaloneBGP{ASN: 64500, Interval: 1, Timeout: 1, Rise: 1, Fall: 1}).Parse(f.id, f.peers, f.announce, f.hops, f.listen)
			if (err != nil) != (len(test.want) > 0) {
				t.Fatalf("got %v", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %v, want %q in it", err, part)
				}
			}
		})
	}
}

func TestZonesOfANameServerAlone(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	zone := file("a.zone", zoneText)
	for _, test := range []struct {
		name  string
		flags []string
		list  string
		want  string // origins, or a part of the error
	}{
		{"a flag", []string{"a.example=" + zone}, "", "a.example."},
		{"a final dot", []string{"a.example.=" + zone}, "", "a.example."},
		{"a list, relative to itself", nil, "# zones\n\nb.example a.zone\n\tc.example " + zone + "\n", "b.example. c.example."},
		{"both", []string{"a.example=" + zone}, "b.example a.zone", "a.example. b.example."},
		{"no file", []string{"a.example"}, "", "want ORIGIN=FILE"},
		{"no origin", []string{"=" + zone}, "", "want ORIGIN=FILE"},
		{"a missing file", []string{"a.example=" + dir + "/none"}, "", `read zone "a.example."`},
		{"one word", nil, "b.example a.zone\nc.example\n", "list:2:"},
		{"a missing file in a list", nil, "b.example none\n", `read zone "b.example."`},
	} {
		t.Run(test.name, func(t *testing.T) {
			list := ""
			if test.list != "" {
				list = file("list", test.list)
			}
			zones, err := (&zoneFiles{flags: test.flags, list: list}).open()
			var got []string
			for _, z := range zones {
				got = append(got, z.Origin)
			}
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q in it", err, test.want)
				}
				return
			}
			if text := strings.Join(got, " "); text != test.want {
				t.Errorf("got %q, want %q", text, test.want)
			}
		})
	}
	if _, err := (&zoneFiles{list: dir + "/nowhere"}).open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a list that is missing: got %v", err)
	}
}

// A service that dies and comes back is announced again once it has lived for the rise, without any probe.
func TestSpeakerWithALifelineAlone(t *testing.T) {
	checkLeaks(t)
	path := filepath.Join(shortDir(t), "app.sock")
	o := StandaloneBGP{ASN: 64500, Lifeline: "unix:" + path, Rise: 100 * time.Millisecond, Interval: 10 * time.Millisecond, Timeout: 8 * time.Millisecond, Fall: 3, State: shortDir(t)}
	if err := o.Parse([]string{"192.0.2.1"}, []string{"127.0.0.1:9=64496"}, []string{"198.51.100.0/24"}, []string{"192.0.2.1"}, nil); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	o.Ready = func([]string) { close(ready) }
	s, err := NewStandaloneBGP(o)
	if err != nil {
		t.Fatal(err)
	}
	state := func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.tracker.View().State.String() + " " + s.tracker.View().Cause.Text
	}
	run(t, s.Run)
	select {
	case <-ready:
	case <-time.After(limit):
		t.Fatal("it is not ready")
	}
	await(t, "down without a service", func() bool { return strings.HasPrefix(state(), "down no lifeline") })
	for range 2 {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		await(t, "up", func() bool { return strings.HasPrefix(state(), "up") })
		l.Close()
		conn.Close()
		await(t, "down", func() bool { return strings.HasPrefix(state(), "down the lifeline ended: end of file") })
	}
}

func TestSpeakerWithoutProbeAndLifelineAnnounces(t *testing.T) {
	o := StandaloneBGP{ASN: 64500, Interval: time.Second, Timeout: time.Second, Rise: time.Second, Fall: 3, State: shortDir(t)}
	if err := o.Parse([]string{"192.0.2.1"}, []string{"127.0.0.1:9=64496"}, []string{"198.51.100.0/24"}, []string{"192.0.2.1"}, nil); err != nil {
		t.Fatal(err)
	}
	s, err := NewStandaloneBGP(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s.Run)
	await(t, "the route", func() bool {
		rib, err := s.bgp.RIB(o.Announce[0])
		return err == nil && len(rib) == 1
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if rib, err := s.bgp.RIB(o.Announce[0]); err != nil || len(rib) != 0 {
		t.Errorf("after the drain: %v, %v", rib, err)
	}
}

// A name server alone follows its files: a changed zone is taken, a bad one is served from its last good copy.
func TestNameServerAloneFollowsItsFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.zone", zoneText)
	write("b.zone", zoneText)
	write("list", "a.example a.zone\nb.example b.zone\n")
	made, err := NewStandaloneDNS(StandaloneDNS{ZoneList: filepath.Join(dir, "list"), Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	d := made.(*aloneDNS)
	if _, changed := d.files.changed(); changed {
		t.Error("nothing has changed, and it is said to")
	}
	text := func(i int) string { return string(d.zones[i].Text) }

	write("a.zone", zoneText+"new A 192.0.2.9\n")
	write("b.zone", "$TTL 300\n@ NS ns1\n") // no SOA
	write("list", "a.example a.zone\nb.example b.zone\nc.example gone.zone\n")
	if _, changed := d.files.changed(); !changed {
		t.Fatal("a change is not seen")
	}
	d.reloadZones()
	faults := d.ZoneFaults()
	if len(d.zones) != 3 || !strings.Contains(text(0), "new A") || len(faults) != 2 || !faults[0].Kept || faults[1].Kept {
		t.Errorf("%d zones, faults %+v", len(d.zones), faults)
	}
	if !errors.Is(faults[1].Err, os.ErrNotExist) {
		t.Errorf("the missing file: %v", faults[1].Err)
	}

	write("list", "a.example\n")
	d.reloadZones()
	if len(d.zones) != 3 {
		t.Error("a bad list took zones away")
	}
}
