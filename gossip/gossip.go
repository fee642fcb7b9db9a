// Package gossip carries bytes by key between the nodes of a pool and knows nothing of their meaning. It is a thin shell
// around hashicorp/memberlist that fixes what was measured of it: pools that were cut apart meet again, messages that
// can not be sent are refused at the call, queues have an end, and it opens no socket of its own.
//
//	Send ──► to each member at once ──────────────► Merge
//	    └──► queue ─► a few random members ─► Merge ─► their queues …      (what the first way lost)
//	    Marshal ◄── a full exchange by stream with a random member ──► Merge  (what both lost)
package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/internal/underlay"
)

// Kind is what a pool joins, and with it its timing (design §5).
type Kind string

// The kinds of pool.
const (
	POP   Kind = "pop"   // the nodes of one POP over its LAN: a death is known within a second
	Fleet Kind = "fleet" // all nodes over the Internet: never a false death; deaths are known in seconds
)

// State is what a user keeps under a key. Both methods may be called from several goroutines at once and must not
// block: a blocked one holds up the pool.
type State interface {
	Marshal() []byte            // all that another node needs to know; nil says nothing
	Merge(payload []byte) error // takes a message or what Marshal said elsewhere; must copy what it keeps
}

// Timing is how fast a pool works. The zero value of each field is the default of the pool's kind.
type Timing struct {
	Probe       time.Duration // between two questions whether a random member lives; pop 100 ms, fleet 1 s
	Timeout     time.Duration // for its answer; pop 50 ms, fleet 400 ms
	Suspicion   int           // times Probe times log10 of the members until a silent one is dead; pop 3, fleet 4
	Patience    int           // times that, if nobody else suspects it; pop 4, fleet 6
	Gossip      time.Duration // between two rounds of gossip; pop 20 ms, fleet 50 ms
	GossipNodes int           // random members told in a round; pop 4, fleet 5
	Exchange    time.Duration // between two full exchanges; pop 5 s, fleet 15 s
	Stream      time.Duration // for a whole exchange; pop 1 s, fleet 3 s
	Rejoin      time.Duration // between two looks for a seed that is no member, at most; 5 s
	Lonely      time.Duration // the same while there is no other member, and at first; 250 ms
}

// The limits of a pool.
const (
	maxQueue    = 1024     // messages waiting for gossip; the oldest make room
	maxSeen     = 8192     // message numbers remembered, twice, so that each message is taken and passed on once
	maxDirect   = 64       // members up to which Send tells each at once; beyond it the rounds of gossip do it alone
	maxKey      = 32       // bytes of a key
	maxExchange = 8 << 20  // bytes of a full exchange; memberlist itself ends at 20 MiB
	maxLabel    = 200      // bytes of a label
	maxPacket   = 64 << 10 // bytes of a datagram that is read
	packetSize  = 1400     // bytes of a datagram that is sent
	retransmits = 4        // times log10 of the members that a message is told
	leaveWait   = time.Second
)

// Options configures a Pool. Name, Kind, Label and Bind are required, and Key unless Insecure.
type Options struct {
	Name  string          // this node, unique in the pool
	Kind  Kind            // POP or Fleet
	Label string          // names the pool; packets with another label are dropped
	Net   underlay.Net    // nil means underlay.Host{}
	Bind  string          // "IP:port", for datagrams and streams; others reach us at just this address; port 0 takes any
	Key   []byte          // 16, 24 or 32 bytes (AES-128, 192, 256)
	Seeds func() []string // "IP:port" of nodes that ought to be members, our own or not; nil means none

	Insecure   bool                  // without Key: everyone who reaches Bind may say anything
	Timing     Timing                // zero means that of Kind
	Ready      func(addr string)     // called by Run with the real address once it listens
	Events     *event.Ring           // nil reports to nobody
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nowhere; the metrics get a label pool
}

// ErrTooLarge is in the error of a Send whose message no datagram can carry.
var ErrTooLarge = errors.New("message too large for gossip")

// errNoKey is the refusal of a pool that anyone could talk into anything.
var errNoKey = errors.New("gossip has no key: give it one, or say that it may be insecure")

// check refuses early what can not work, and fills in defaults.
func (o *Options) check() (netip.AddrPort, error) {
	bind, err := netip.ParseAddrPort(o.Bind)
	switch {
	case o.Name == "":
		return bind, errors.New("gossip: the node has no name")
	case o.Kind != POP && o.Kind != Fleet:
		return bind, fmt.Errorf("gossip pool of kind %q: want %q or %q", o.Kind, POP, Fleet)
	case len(o.Label) > maxLabel:
		return bind, fmt.Errorf("gossip label %q: longer than %d bytes", o.Label, maxLabel)
	case err != nil:
		return bind, fmt.Errorf("gossip address %q: want IP:port: %w", o.Bind, err)
	case bind.Addr().IsUnspecified():
		return bind, fmt.Errorf("gossip address %q: want the address that others reach us at", o.Bind)
	case len(o.Key) == 0 && !o.Insecure:
		return bind, errNoKey
	case len(o.Key) != 0 && len(o.Key) != 16 && len(o.Key) != 24 && len(o.Key) != 32:
		return bind, fmt.Errorf("gossip key of %d bytes: want 16, 24 or 32", len(o.Key))
	}
	if o.Net == nil {
		o.Net = underlay.Host{}
	}
	if o.Seeds == nil {
		o.Seeds = func() []string { return nil }
	}
	if o.Ready == nil {
		o.Ready = func(string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Timing = o.Timing.of(o.Kind)
	return bind, nil
}

// of fills in the defaults of a kind. Those of the fleet are the fastest for which 20 % loss and blocked nodes made no
// false deaths at 50 nodes over links of up to 280 ms.
func (t Timing) of(k Kind) Timing {
	d := Timing{
		Probe: time.Second, Timeout: 400 * time.Millisecond, Suspicion: 4, Patience: 6,
		Gossip: 50 * time.Millisecond, GossipNodes: 5, Exchange: 15 * time.Second, Stream: 3 * time.Second,
	}
	if k == POP {
		d = Timing{
			Probe: 100 * time.Millisecond, Timeout: 50 * time.Millisecond, Suspicion: 3, Patience: 4,
			Gossip: 20 * time.Millisecond, GossipNodes: 4, Exchange: 5 * time.Second, Stream: time.Second,
		}
	}
	d.Rejoin, d.Lonely = 5*time.Second, 250*time.Millisecond
	for _, f := range []struct{ to, from *time.Duration }{
		{&t.Probe, &d.Probe},
		{&t.Timeout, &d.Timeout},
		{&t.Gossip, &d.Gossip},
		{&t.Exchange, &d.Exchange},
		{&t.Stream, &d.Stream},
		{&t.Rejoin, &d.Rejoin},
		{&t.Lonely, &d.Lonely},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from *int }{
		{&t.Suspicion, &d.Suspicion}, {&t.Patience, &d.Patience}, {&t.GossipNodes, &d.GossipNodes},
	} {
		if *f.to == 0 {
			*f.to = *f.from
		}
	}
	return t
}
