// Package bfd tells within a few intervals that packets no longer pass between two neighbours: Bidirectional Forwarding
// Detection (RFC 5880) over a single hop (RFC 5881), in asynchronous mode, without echo, demand or authentication.
//
//	we                                     neighbour
//	 │ Down, 1 s apart ──────────────────────▶ │
//	 │ ◀────────────────────────────── Init ── │   it has heard us
//	 │ Up, Poll, our interval ────────────────▶ │  it counts by the new interval from here
//	 │ ◀───────────────────────── Up, Final ── │
//	 │ ◀──────────────────────────────▶ Up ──▶ │   each at its pace, 75 to 100 % of the interval apart
//	 │                                    ╳    │   nothing for 3 intervals: Down
//
// Session is the state machine: it takes packets and the time, and returns packets. Endpoint is the shell: the sockets,
// the clock, and the thread that serves them.
package bfd

import (
	"fmt"
	"time"
)

// Port is where single-hop sessions are heard (RFC 5881 §4).
const Port = 3784

// multihopPort is that of sessions over several hops (RFC 5883 §5), which we do not speak. What arrives there is heard all
// the same: FRR sends to it as soon as a neighbour has `ttl-security hops 1`, and then watches nothing, and does not say so.
const multihopPort = 4784

// hopLimit is the TTL or hop limit of every packet: one that came over a router has less (RFC 5881 §5, RFC 5082).
const hopLimit = 255

// The bounds of an interval. BFD counts microseconds in 32 bits, but nobody counts on hours.
const (
	MinInterval = 10 * time.Millisecond
	MaxInterval = 10 * time.Second
)

// slow is the least interval of a session that is not Up (RFC 5880 §6.8.3).
const slow = time.Second

// State is that of a session (RFC 5880 §4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

var stateNames = [...]string{"admin-down", "down", "init", "up"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Diag says why a session changed its state last (RFC 5880 §4.1).
type Diag uint8

// The diagnostics that we set ourselves.
const (
	NoDiag       Diag = 0
	DetectionRan Diag = 1 // nothing was heard for the detection time
	NeighborDown Diag = 3 // the neighbour said so
	ByHand       Diag = 7 // administratively down
)

var diagNames = [...]string{
	"", "control detection time expired", "echo function failed", "neighbor signaled session down", "forwarding plane reset",
	"path down", "concatenated path down", "administratively down", "reverse concatenated path down",
}

func (d Diag) String() string {
	if int(d) < len(diagNames) {
		return diagNames[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}
