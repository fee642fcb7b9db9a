//go:build linux

package probe

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/internal/testns"
	"github.com/catchment-net/catchment/internal/underlay"
)

// unreachable is a network on which connections fail so, and datagram sockets otherwise.
type unreachable struct {
	underlay.Host
	tcp, udp error
}

func (u unreachable) DialContext(_ context.Context, network, _ string) (net.Conn, error) {
	err := u.tcp
	if network == "udp" {
		err = u.udp
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", err)}
	}
	ours, theirs := net.Pipe()
	theirs.Close()
	return ours, nil
}

// Only what our own kernel says of our own side is no verdict; what a router on the way says is one.
func TestFaultsOfOurOwnSideAreNoVerdicts(t *testing.T) {
	for _, tt := range []struct {
		what     string
		tcp, udp error
		ours     bool
	}{
		{"we have no route", syscall.ENETUNREACH, syscall.ENETUNREACH, true},
		{"we have no address of that family", syscall.EADDRNOTAVAIL, syscall.EADDRNOTAVAIL, true},
		{"a router has no route", syscall.ENETUNREACH, nil, false},
		{"the last router finds no host", syscall.EHOSTUNREACH, nil, false},
		{"nobody listens", syscall.ECONNREFUSED, nil, false},
	} {
		p := New(Options{Target: TCP("203.0.113.1:80"), Net: unreachable{tcp: tt.tcp, udp: tt.udp}})
		v := p.Once(t.Context(), time.Now())
		if v.OK || v.Ours != tt.ours {
			t.Errorf("%s: got OK %t, ours %t; want false, %t", tt.what, v.OK, v.Ours, tt.ours)
		}
		tracker := health.NewTracker(health.TrackerOptions{Fall: 1})
		if got := tracker.Observe(time.Now(), v).View.State; (got == health.Unknown) != tt.ours {
			t.Errorf("%s: the target is %v", tt.what, got)
		}
	}
}

// A host without routes, as a node that has just begun, holds nobody for dead.
func TestWithoutRoutesNobodyIsJudged(t *testing.T) {
	if !testns.Inside(t) {
		return
	}
	for _, target := range []Target{HTTP("http://203.0.113.1/health"), HTTP("http://[2001:db8::1]/health"), DNS("203.0.113.1:53"), TCP("203.0.113.1:80")} {
		if v := New(Options{Target: target}).Once(t.Context(), time.Now()); v.OK || !v.Ours {
			t.Errorf("%v: got %+v, want a fault of ours", target, v)
		}
	}
}
