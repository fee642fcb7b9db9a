package rpki

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Options configures a Validator. Nothing is required.
type Options struct {
	// Dial opens connections; nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Now  func() time.Time // nil means time.Now
	// OnChange is called when Table or Servers would answer something else than before; nil means nobody asks. It is
	// called with no lock held, and may block.
	OnChange func()
}

// Validator asks RTR servers. Its methods are safe for concurrent use.
type Validator struct {
	o    Options
	wake chan struct{} // capacity 1: servers or interest have changed

	mu       sync.Mutex // guards the following; held for a read or a write
	servers  []string
	interest []netip.Prefix
	states   []state // of servers, in their order
}

// New makes a Validator that asks nobody.
func New(o Options) *Validator {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnChange == nil {
		o.OnChange = func() {}
	}
	return &Validator{o: o, wake: make(chan struct{}, 1)}
}

// Set says whom to ask, HOST:PORT, the preferred server first, and about which prefixes. What other servers have said,
// or the same ones about other prefixes, is forgotten.
func (v *Validator) Set(servers []string, interest []netip.Prefix) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.Equal(v.servers, servers) && slices.Equal(v.interest, interest) {
		return
	}
	v.servers, v.interest, v.states = slices.Clone(servers), slices.Clone(interest), make([]state, len(servers))
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Table returns what the preferred server of those with data says, and whether there is one: none has ever answered, or
// all data has expired.
func (v *Validator) Table() (*Table, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.states {
		if s.table != nil && v.o.Now().Before(s.expires) {
			return s.table, true
		}
	}
	return nil, false
}

// ServerStatus is one server, for people.
type ServerStatus struct {
	Server  string    `json:"server"`
	VRPs    int       `json:"vrps"`            // about our prefixes
	Expires time.Time `json:"expires"`         // of its data; zero if it has sent none
	Error   string    `json:"error,omitempty"` // why there is no connection
}

// Servers lists the servers in the order of preference.
func (v *Validator) Servers() []ServerStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]ServerStatus, 0, len(v.servers))
	for i, s := range v.states {
		all = append(all, ServerStatus{Server: v.servers[i], VRPs: s.table.Len(), Expires: s.expires, Error: s.err})
	}
	return all
}

// Run asks the servers until ctx is done.
func (v *Validator) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		asking, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		v.start(asking, &running)
		v.watch(ctx)
		stop()
		running.Wait()
	}
	return nil
}

// start asks every server that is set now.
func (v *Validator) start(ctx context.Context, running *sync.WaitGroup) {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.wake: // what it tells of is in force from here on
	default:
	}
	mine := v.states
	for i, server := range v.servers {
		s := &source{server: server, interest: v.interest, dial: v.o.Dial, now: v.o.Now}
		s.report = func(now state) {
			v.mu.Lock()
			current := len(mine) > 0 && len(v.states) > 0 && &mine[0] == &v.states[0]
			if current {
				v.states[i] = now
			}
			v.mu.Unlock()
			if current {
				v.o.OnChange()
			}
		}
		running.Go(func() { s.run(ctx) })
	}
}

// watch tells of data that expires, until ctx is done or Set has changed something.
func (v *Validator) watch(ctx context.Context) {
	timer := time.NewTimer(expiryCheck)
	defer timer.Stop()
	_, had := v.Table()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
			v.o.OnChange()
			return
		case <-timer.C:
			_, has := v.Table()
			if had && !has {
				v.o.OnChange()
			}
			had = has
			timer.Reset(expiryCheck)
		}
	}
}

// expiryCheck is how often it is looked whether all data has expired; that takes ten minutes at least.
const expiryCheck = 10 * time.Second
