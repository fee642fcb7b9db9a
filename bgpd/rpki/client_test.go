package rpki

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server is an RTR server of the test's: a script that reads what it expects and writes what it likes.
type server struct {
	t    *testing.T
	conn net.Conn
}

func (s server) reads(want kind) pdu {
	s.t.Helper()
	p, err := readPDU(s.conn)
	if err != nil || p.kind != want {
		s.t.Errorf("the server read %+v, %v, want a PDU of type %d", p, err, want)
	}
	return p
}

func (s server) writes(all ...pdu) {
	s.t.Helper()
	for _, p := range all {
		if _, err := s.conn.Write(p.encode()); err != nil {
			s.t.Errorf("the server wrote %+v: %v", p, err)
		}
	}
}

// answer writes what a server says to a query.
func (s server) answer(version uint8, session uint16, serial uint32, vrps ...pdu) {
	s.t.Helper()
	s.writes(pdu{version: version, kind: cacheResponse, session: session})
	for _, p := range vrps {
		p.version = version
		s.writes(p)
	}
	end := pdu{version: version, kind: endOfData, session: session, serial: serial}
	if version > 0 {
		end.refresh, end.retry, end.expire = time.Hour, 10*time.Minute, 2*time.Hour
	}
	s.writes(end)
}

func add(prefix string, longest uint8, asn uint32) pdu {
	return pdu{kind: ipv4Prefix, announce: true, vrp: vrp(prefix, longest, asn)}
}

func del(prefix string, longest uint8, asn uint32) pdu {
	return pdu{kind: ipv4Prefix, vrp: vrp(prefix, longest, asn)}
}

var ours = netip.MustParsePrefix("192.0.2.0/24")

// network gives each server's connections to its script, one after the other; further ones are refused.
type network struct {
	mu      sync.Mutex
	scripts map[string][]func(server)
	running sync.WaitGroup
	t       *testing.T
}

func (n *network) dial(_ context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	left := n.scripts[address]
	if len(left) == 0 {
		return nil, errors.New("connection refused")
	}
	n.scripts[address] = left[1:]
	a, b := net.Pipe()
	n.running.Go(func() {
		defer b.Close()
		left[0](server{n.t, b})
	})
	return a, nil
}

// world runs a Validator against scripts in virtual time; then checks what it knows.
func world(t *testing.T, scripts map[string][]func(server), servers []string, check func(*Validator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{scripts: scripts, t: t}
		v := New(Options{Dial: n.dial})
		v.Set(servers, []netip.Prefix{ours})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx) }()
		synctest.Wait()
		check(v)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		n.running.Wait()
	})
}

func says(t *testing.T, v *Validator, origin uint32, want State, known bool) {
	t.Helper()
	table, ok := v.Table()
	if got := table.Validate(ours, origin); got != want || ok != known {
		t.Errorf("says %v, known %t; want %v, %t", got, ok, want, known)
	}
}

func TestAllThenChanges(t *testing.T) {
	world(t, map[string][]func(server){"a:1": {func(s server) {
		s.reads(resetQuery)
		s.answer(1, 7, 1, add("192.0.2.0/24", 24, 64500), add("198.51.100.0/24", 24, 1), pdu{kind: ipv6Prefix, announce: true, vrp: vrp("2001:db8::/32", 48, 1)})
		time.Sleep(time.Minute)
		s.writes(pdu{version: 1, kind: serialNotify, session: 7, serial: 2})
		if q := s.reads(serialQuery); q.session != 7 || q.serial != 1 {
			s.t.Errorf("asked for changes since %d of session %d", q.serial, q.session)
		}
		s.answer(1, 7, 2, del("192.0.2.0/24", 24, 64500), add("192.0.2.0/24", 24, 64501), del("198.51.100.0/24", 24, 1))
		if q := s.reads(serialQuery); q.serial != 2 { // an hour later, because it is time
			s.t.Errorf("asked for changes since %d", q.serial)
		}
		s.writes(pdu{version: 1, kind: cacheReset})
		s.reads(resetQuery)
		s.answer(1, 7, 9, add("192.0.2.0/24", 24, 64500))
		_, _ = readPDU(s.conn)
	}}}, []string{"a:1"}, func(v *Validator) {
		says(t, v, 64500, Valid, true)
		if got := v.Servers()[0]; got.VRPs != 1 || got.Error != "" {
			t.Errorf("keeps %d VRPs about one prefix, error %q", got.VRPs, got.Error)
		}
		time.Sleep(2 * time.Minute)
		says(t, v, 64500, Invalid, true)
		says(t, v, 64501, Valid, true)
		time.Sleep(time.Hour)
		says(t, v, 64500, Valid, true)
	})
}

func TestVersionZero(t *testing.T) {
	zero := func(s server) {
		if q := s.reads(resetQuery); q.version != 0 {
			s.t.Errorf("asked in version %d again", q.version)
		}
		s.answer(0, 3, 1, add("192.0.2.0/24", 24, 64500))
		_, _ = readPDU(s.conn)
	}
	for name, scripts := range map[string][]func(server){
		"it reports our version": {func(s server) {
			s.reads(resetQuery)
			s.writes(pdu{version: 0, kind: errorReport, session: unsupportedVersion, text: "no version 1"})
		}, zero},
		"it answers in its own": {func(s server) {
			s.reads(resetQuery)
			s.answer(0, 3, 1, add("192.0.2.0/24", 24, 64500))
			_, _ = readPDU(s.conn)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, map[string][]func(server){"a:1": scripts}, []string{"a:1"}, func(v *Validator) { says(t, v, 64500, Valid, true) })
		})
	}
}

// What a server does wrong is told to it with the code of RFC 8210 §12; we come back and ask for all.
func TestMistakesAreReported(t *testing.T) {
	begin := pdu{version: 1, kind: cacheResponse, session: 7}
	one := add("192.0.2.0/24", 24, 64500)
	one.version = 1
	unknown := del("192.0.2.0/24", 24, 64500)
	unknown.version = 1
	zero := one
	zero.version = 0
	for _, test := range []struct {
		name string
		send []byte
		code uint16
	}{
		{"the same twice", append(append(begin.encode(), one.encode()...), one.encode()...), duplicateAnnouncement},
		{"a withdrawal of what is not there", append(begin.encode(), unknown.encode()...), withdrawalOfUnknown},
		{"a VRP without an answer", one.encode(), invalidRequest},
		{"another version", append(begin.encode(), zero.encode()...), unexpectedVersion},
		{"a version that we do not speak", []byte{3, 3, 0, 7, 0, 0, 0, 8}, unsupportedVersion},
		{"an unknown type", []byte{1, 11, 0, 0, 0, 0, 0, 8}, unsupportedType},
		{"a PDU too short", []byte{1, 3, 0, 7, 0, 0, 0, 4}, corruptData},
		{"a PDU too long", []byte{1, 3, 0, 7, 0, 0, 0, 12, 0, 0, 0, 0}, corruptData},
		{"host bits", append(begin.encode(), 1, 4, 0, 0, 0, 0, 0, 20, 1, 8, 8, 0, 10, 1, 0, 0, 0, 0, 0, 1), corruptData},
		{"a longest length below the length", append(begin.encode(), 1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 8, 0, 192, 0, 2, 0, 0, 0, 0, 1), corruptData},
		{"End of Data first", pdu{version: 1, kind: endOfData}.encode(), corruptData},
		{"Cache Reset for all", pdu{version: 1, kind: cacheReset}.encode(), corruptData},
		{"a query", pdu{version: 1, kind: resetQuery}.encode(), unsupportedType},
	} {
		t.Run(test.name, func(t *testing.T) {
			world(t, map[string][]func(server){"a:1": {func(s server) {
				s.reads(resetQuery)
				_, _ = s.conn.Write(test.send)
				if p := s.reads(errorReport); p.session != test.code || p.text == "" {
					s.t.Errorf("reported error %d %q, want %d", p.session, p.text, test.code)
				}
			}, func(s server) {
				s.reads(resetQuery)
				s.answer(1, 8, 1, add("192.0.2.0/24", 24, 64500))
				_, _ = readPDU(s.conn)
			}}}, []string{"a:1"}, func(v *Validator) {
				says(t, v, 64500, NotFound, false)
				if got := v.Servers()[0].Error; !strings.Contains(got, `"a:1"`) {
					t.Errorf("the status says %q", got)
				}
				time.Sleep(reconnectMax + time.Second)
				says(t, v, 64500, Valid, true)
			})
		})
	}
}

// Data outlives its server until it expires; then nothing is known, which is not the same as invalid.
func TestDataExpires(t *testing.T) {
	world(t, map[string][]func(server){"a:1": {func(s server) {
		s.reads(resetQuery)
		s.answer(1, 7, 1, add("192.0.2.0/24", 24, 64501))
	}}}, []string{"a:1"}, func(v *Validator) {
		time.Sleep(2*time.Hour - time.Second)
		says(t, v, 64500, Invalid, true)
		if got := v.Servers()[0].Error; !strings.Contains(got, "connection refused") {
			t.Errorf("the status says %q", got)
		}
		time.Sleep(2 * time.Second)
		says(t, v, 64500, NotFound, false)
	})
}

func TestPreference(t *testing.T) {
	answers := func(asn uint32, life time.Duration) func(server) {
		return func(s server) {
			s.reads(resetQuery)
			s.answer(1, 7, 1, add("192.0.2.0/24", 24, asn))
			time.Sleep(life)
		}
	}
	world(t, map[string][]func(server){
		"a:1": {func(s server) {
			s.reads(resetQuery)
			s.writes(pdu{version: 1, kind: errorReport, session: noDataAvailable})
		}, answers(64500, time.Minute)},
		"b:1": {answers(64501, 50*time.Minute)},
	}, []string{"a:1", "b:1"}, func(v *Validator) {
		says(t, v, 64501, Valid, true) // the preferred one has no data yet
		time.Sleep(defaultRetry + time.Second)
		says(t, v, 64500, Valid, true)
		says(t, v, 64501, Invalid, true)
	})
}

// A server that was restarted begins another session: what it said in the old one does not count any more.
func TestAnotherSession(t *testing.T) {
	world(t, map[string][]func(server){"a:1": {func(s server) {
		s.reads(resetQuery)
		s.answer(1, 7, 5, add("192.0.2.0/24", 24, 64500))
	}, func(s server) {
		s.reads(serialQuery)
		s.writes(pdu{version: 1, kind: cacheResponse, session: 8})
	}, func(s server) {
		s.reads(resetQuery)
		s.answer(1, 8, 1, add("192.0.2.0/24", 24, 64501))
		_, _ = readPDU(s.conn)
	}}}, []string{"a:1"}, func(v *Validator) {
		says(t, v, 64500, Valid, true)
		time.Sleep(reconnectMax + time.Second)
		says(t, v, 64501, Valid, true)
	})
}
