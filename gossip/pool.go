package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// Pool is this node's membership of one gossip pool. It is safe for concurrent use.
type Pool struct {
	o       Options
	bind    netip.AddrPort
	keyring *memberlist.Keyring // nil without a key; the place where a rotation adds, uses and removes keys
	queue   *memberlist.TransmitLimitedQueue
	metrics *metrics
	limit   int // bytes of a message with its envelope

	mu     sync.RWMutex // guards states; any method may take it, for a copy at most
	states map[string]State

	list   atomic.Pointer[memberlist.Memberlist] // nil before Run and after it
	ending sync.Mutex                            // held by Leave and by the end of Run: memberlist must not leave after its end
	left   atomic.Bool                           // Leave was called: no more joining
	seen   seen
}

// New checks the options and opens nothing.
func New(o Options) (*Pool, error) {
	bind, err := o.check()
	if err != nil {
		return nil, err
	}
	p := &Pool{o: o, bind: bind, states: map[string]State{}}
	if len(o.Key) > 0 {
		if p.keyring, err = memberlist.NewKeyring(nil, o.Key); err != nil {
			return nil, fmt.Errorf("gossip key: %w", err)
		}
	}
	p.limit = packetSize - datagramOverhead - len(p.label())
	if p.keyring != nil {
		p.limit -= cipherOverhead
	}
	p.queue = &memberlist.TransmitLimitedQueue{NumNodes: p.numMembers, RetransmitMult: retransmits}
	if p.metrics, err = newMetrics(o.Registerer, o.Kind, p.numMembers, p.queue.NumQueued); err != nil {
		return nil, fmt.Errorf("register gossip metrics: %w", err)
	}
	return p, nil
}

// label keeps pools of the two kinds apart even where their users name them alike.
func (p *Pool) label() string { return p.o.Label + ":" + string(p.o.Kind) }

// Register puts a state under a key. Messages with a key that nobody registered are passed on and otherwise dropped.
func (p *Pool) Register(key string, s State) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("gossip key %q: want 1 to %d bytes", key, maxKey)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, taken := p.states[key]; taken {
		return fmt.Errorf("gossip key %q: registered already", key)
	}
	p.states[key] = s
	return nil
}

// MaxPayload is how many bytes Send takes under a key.
func (p *Pool) MaxPayload(key string) int { return p.limit - envelopeSize - len(key) }

// Send tells every member: at once by a datagram to each, and by gossip for those that it does not reach. It does not
// wait for anyone. Before Run and after it the message only waits in the queue. A payload over MaxPayload is refused
// with ErrTooLarge.
func (p *Pool) Send(key string, payload []byte) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("send gossip under key %q: want 1 to %d bytes", key, maxKey)
	}
	if limit := p.MaxPayload(key); len(payload) > limit {
		return fmt.Errorf("send %d bytes under %q, at most %d fit: %w", len(payload), key, limit, ErrTooLarge)
	}
	id := rand.Uint64()
	p.seen.first(id)
	msg := seal(id, key, payload)
	p.enqueue(msg)
	p.metrics.sent.Inc()
	list := p.list.Load()
	if list == nil {
		return nil
	}
	members := list.Members()
	if len(members) > maxDirect {
		return nil
	}
	for _, n := range members {
		if n.Name == p.o.Name {
			continue
		}
		if err := list.SendBestEffort(n, msg); err != nil {
			p.metrics.dropped.WithLabelValues("send").Inc() // gossip repairs it
		}
	}
	return nil
}

// enqueue leaves a message to the rounds of gossip. The queue's oldest messages make room.
func (p *Pool) enqueue(msg []byte) {
	p.queue.QueueBroadcast(broadcast(msg))
	if over := p.queue.NumQueued() - maxQueue; over > 0 {
		p.queue.Prune(maxQueue)
		p.metrics.dropped.WithLabelValues("queue").Add(float64(over))
	}
}

// broadcast is a message in memberlist's queue. No message replaces another: what belongs together only their user
// knows.
type broadcast []byte

func (b broadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b broadcast) Message() []byte                       { return b }
func (b broadcast) Finished()                             {}
func (b broadcast) UniqueBroadcast()                      {}

// Members returns the names of the members that are thought to live, this node included, in alphabetical order; none
// before Run.
func (p *Pool) Members() []string {
	list := p.list.Load()
	if list == nil {
		return nil
	}
	var names []string
	for _, n := range list.Members() {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

func (p *Pool) numMembers() int {
	list := p.list.Load()
	if list == nil {
		return 0
	}
	return list.NumMembers()
}

// Run joins the pool and stays in it until ctx is done; then it is gone without a word, as a dead node. The error says
// which address could not be listened on. Run may be called once.
func (p *Pool) Run(ctx context.Context) error {
	t, err := listen(ctx, p.o.Net, p.bind, p.o.Logger)
	if err != nil {
		return err
	}
	list, err := memberlist.Create(p.config(t))
	if err != nil {
		return errors.Join(fmt.Errorf("join gossip pool %q: %w", p.label(), err), t.Shutdown())
	}
	p.list.Store(list)
	p.o.Ready(t.addr.String())
	stop := context.AfterFunc(ctx, t.cancel) // a join in flight must not outlast ctx
	p.rejoin(ctx, list)
	stop()
	p.ending.Lock()
	defer p.ending.Unlock()
	p.list.Store(nil)
	if err := list.Shutdown(); err != nil {
		return fmt.Errorf("leave gossip pool %q: %w", p.label(), err)
	}
	return nil
}

func (p *Pool) config(t *transport) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.Transport = p.o.Name, p.label(), t
	c.BindAddr, c.BindPort = t.addr.Addr().String(), int(t.addr.Port())
	c.AdvertiseAddr, c.AdvertisePort = c.BindAddr, c.BindPort
	c.ProbeInterval, c.ProbeTimeout = p.o.Timing.Probe, p.o.Timing.Timeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = p.o.Timing.Suspicion, p.o.Timing.Patience
	c.IndirectChecks = 5
	c.GossipInterval, c.GossipNodes = p.o.Timing.Gossip, p.o.Timing.GossipNodes
	c.PushPullInterval, c.TCPTimeout = p.o.Timing.Exchange, p.o.Timing.Stream
	c.RetransmitMult, c.UDPBufferSize = retransmits, packetSize
	c.DeadNodeReclaimTime = p.o.Timing.Rejoin // a node that comes back elsewhere
	c.EnableCompression = false               // small messages gain nothing and cost processor time
	c.Keyring = p.keyring
	c.Delegate, c.Events = delegate{p}, delegate{p}
	c.Logger = log.New(logWriter{p.o.Logger}, "", 0)
	return c
}

// rejoin looks for seeds that are no members, one at random each time, until ctx is done: by itself memberlist joins
// once, and pools that were cut apart for longer than it gossips to the dead never meet again.
func (p *Pool) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pace := pace{short: p.o.Timing.Lonely, long: p.o.Timing.Rejoin}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := pace.next(p.look(list), list.NumMembers())
		timer.Reset(wait*3/4 + rand.N(wait/2)) // jittered, so that nodes started together spread out
	}
}

// found is what came of a look for a seed.
type found uint8

const (
	allMembers found = iota
	joined
	notReached
)

func (p *Pool) look(list *memberlist.Memberlist) found {
	seed, ok := p.missing(list)
	if !ok || p.left.Load() {
		return allMembers
	}
	if _, err := list.Join([]string{seed}); err != nil {
		p.metrics.joinFailures.Inc()
		p.o.Logger.Debug("seed not reached", "pool", string(p.o.Kind), "seed", seed, "error", err)
		return notReached
	}
	return joined
}

// pace is how long to wait between looks: short while there is nobody, and at first, when others may not listen yet or no
// route leads to them; doubled for each seed that is not reached.
type pace struct {
	short, long time.Duration
	wait        time.Duration // the last one; 0 when all were members
}

func (p *pace) next(last found, members int) time.Duration {
	switch {
	case last == allMembers:
		p.wait = 0
		return p.long
	case last == joined || members < 2 || p.wait == 0:
		p.wait = p.short
	default:
		p.wait = min(2*p.wait, p.long)
	}
	return p.wait
}

// missing picks a seed at random that is not a member.
func (p *Pool) missing(list *memberlist.Memberlist) (string, bool) {
	out := map[string]bool{}
	for _, seed := range p.o.Seeds() {
		// Names are refused: memberlist would open a socket to look them up.
		if at, err := netip.ParseAddrPort(seed); err == nil {
			out[at.String()] = true
		} else {
			p.o.Logger.Debug("seed is not IP:port", "pool", string(p.o.Kind), "seed", seed)
		}
	}
	for _, n := range list.Members() {
		delete(out, n.Address())
	}
	if len(out) == 0 {
		return "", false
	}
	seeds := slices.Sorted(maps.Keys(out))
	return seeds[rand.IntN(len(seeds))], true
}

// Leave says goodbye, so that the others need not find out, and waits until one of them was told, at most until ctx's
// deadline or for a second. Run goes on until its own context is done.
func (p *Pool) Leave(ctx context.Context) error {
	p.left.Store(true)
	p.ending.Lock()
	defer p.ending.Unlock()
	list := p.list.Load()
	if list == nil {
		return nil
	}
	wait := leaveWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = max(min(wait, time.Until(deadline)), time.Millisecond)
	}
	if err := list.Leave(wait); err != nil {
		return fmt.Errorf("leave gossip pool %q: %w", p.label(), err)
	}
	return nil
}
