// Package rrl limits how often one network gets one answer, so that a name server is of no use against a victim whose
// address somebody else puts into queries (response rate limiting as in BIND, NSD and Knot).
//
// Each pair of network (/24, /56) and answer has an account, which is the time at which it will be empty (GCRA): an
// answer moves it by 1/rate, and one that would move it more than a window ahead is too many. A part of those goes out
// all the same, short and truncated, so that an honest client behind that network asks again over TCP.
//
// Accounts lie in a table of fixed size, in sets of four; where a set is full the emptiest account gives way, so a flood
// of many networks can make the limiter forget, never grow. All methods are safe for concurrent use, none allocates,
// waits or takes a lock.
package rrl

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"
)

// The limits of a Limiter, and its defaults.
const (
	DefaultRate   = 500             // equal answers a second to one network; as many networks ask through one resolver, not less
	DefaultWindow = 2 * time.Second // how long a burst may be, at that rate
	DefaultSlip   = 2               // every second answer that is too many goes out truncated
	DefaultSize   = 1 << 16         // accounts, of 8 bytes each
	MaxSize       = 1 << 24
	MaxRate       = 1_000_000

	set      = 4  // accounts that one hash may use
	tagBits  = 16 // of an account that say whose it is; the rest is a time in microseconds
	timeBits = 64 - tagBits
	timeMask = 1<<timeBits - 1

	bits4, bits6 = 24, 56 // of a network
)

// Options configures a Limiter; zero values are the defaults.
type Options struct {
	Rate   int           // equal answers a second to one network; below 0: no limit
	Window time.Duration // how much may come at once, as time at that rate
	Slip   int           // one of so many that are too many goes out truncated; below 0: none does
	Size   int           // accounts; rounded up to a power of two
}

// Verdict says what to do with an answer.
type Verdict uint8

// What to do with an answer.
const (
	Send     Verdict = iota
	Drop             // say nothing
	Truncate         // say little, so that an honest client asks over TCP
)

// Limiter keeps the accounts.
type Limiter struct {
	cost, window uint64 // microseconds
	slip         uint32
	slipped      atomic.Uint32
	seed         [2]uint64 // random, so that nobody can aim at an account
	start        time.Time
	accounts     []atomic.Uint64
	forgotten    atomic.Uint64
}

// New makes a Limiter, or none (nil, which sends everything) if the options say so. Start is the time that it counts from.
func New(o Options, start time.Time) (*Limiter, error) {
	if o.Rate < 0 {
		return nil, nil //nolint:nilnil // a nil Limiter limits nothing
	}
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	if o.Slip == 0 {
		o.Slip = DefaultSlip
	}
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	switch {
	case o.Rate > MaxRate:
		return nil, fmt.Errorf("rate limit %d: want at most %d answers a second, or less than 0 for no limit", o.Rate, MaxRate)
	case o.Window < 0 || o.Window > time.Hour:
		return nil, fmt.Errorf("rate limit window %v: want up to 1h", o.Window)
	case o.Size < set || o.Size > MaxSize:
		return nil, fmt.Errorf("rate limit for %d accounts: want %d to %d", o.Size, set, MaxSize)
	}
	size := set
	for size < o.Size {
		size *= 2
	}
	return &Limiter{
		cost: uint64(time.Second/time.Microsecond) / uint64(o.Rate), window: uint64(o.Window / time.Microsecond), slip: uint32(max(o.Slip, 0)),
		seed: [2]uint64{rand.Uint64(), rand.Uint64()}, start: start.Add(-time.Second), accounts: make([]atomic.Uint64, size),
	}, nil
}

// Take counts one answer to a client and says what to do with it. Answers are equal whose keys are.
func (l *Limiter) Take(client netip.Addr, key uint64, now time.Time) Verdict {
	if l == nil {
		return Send
	}
	h := l.hash(client, key)
	at, tag := h&uint64(len(l.accounts)-1)&^(set-1), h>>timeBits<<timeBits
	t := uint64(max(now.Sub(l.start)/time.Microsecond, 1)) & timeMask
	best, level := at, uint64(timeMask)
	for i := at; i < at+set; i++ {
		a := l.accounts[i].Load()
		if a&^timeMask == tag && a != 0 {
			return l.charge(i, a, tag, t)
		}
		if a&timeMask < level {
			best, level = i, a&timeMask
		}
	}
	old := l.accounts[best].Load()
	if old&timeMask > t {
		l.forgotten.Add(1)
	}
	l.accounts[best].CompareAndSwap(old, tag|t+l.cost) // if another got there first, this answer is free
	return Send
}

// charge moves an account. Where two do so at once one is free: a limit need not be exact.
func (l *Limiter) charge(i, old, tag, now uint64) Verdict {
	level := max(old&timeMask, now)
	if level+l.cost > now+l.window {
		return l.refuse()
	}
	l.accounts[i].CompareAndSwap(old, tag|level+l.cost)
	return Send
}

func (l *Limiter) refuse() Verdict {
	if l.slip > 0 && l.slipped.Add(1)%l.slip == 0 {
		return Truncate
	}
	return Drop
}

// Forgotten is how many accounts have given way to others before they were empty.
func (l *Limiter) Forgotten() uint64 {
	if l == nil {
		return 0
	}
	return l.forgotten.Load()
}

func (l *Limiter) hash(client netip.Addr, key uint64) uint64 {
	var net uint64
	if client.Is4() {
		a := client.As4()
		net = uint64(a[0])<<16 | uint64(a[1])<<8 | uint64(a[2])
	} else {
		a := client.As16()
		for _, b := range a[:bits6/8] {
			net = net<<8 | uint64(b)
		}
		net |= 1 << 63
	}
	return mix(mix(net^l.seed[0], key^l.seed[1]), l.seed[0])
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xbf58476d1ce4e5b9)
	return hi ^ lo
}
