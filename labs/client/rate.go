package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/labs"
)

// maxRate bounds a load, in requests per second from one client: beyond it the generator would measure itself.
const maxRate = 1000

// Run sends the loads that this client takes part in, evenly spaced, until ctx is done. It calls fn for each request
// when it has ended; calls do not overlap. Requests that the end of ctx interrupts are not reported: they prove nothing.
// Run returns when no request is under way any more.
func (c *Client) Run(ctx context.Context, loads []labs.Load, fn func(labs.Sample)) error {
	return RunAll(ctx, []*Client{c}, loads, fn)
}

// RunAll is Run for several clients at once; calls of fn do not overlap between them either.
func RunAll(ctx context.Context, clients []*Client, loads []labs.Load, fn func(labs.Sample)) error {
	for _, l := range loads {
		if l.Rate <= 0 || l.Rate > maxRate {
			return fmt.Errorf("load %q: rate %v: want more than 0 and at most %d requests per second", l.Name, l.Rate, maxRate)
		}
	}
	var mu sync.Mutex // held during fn
	var all sync.WaitGroup
	for _, c := range clients {
		for _, l := range c.loadsOf(loads) {
			all.Go(func() {
				c.generate(ctx, l, func(s labs.Sample) {
					mu.Lock()
					defer mu.Unlock()
					if ctx.Err() == nil {
						fn(s)
					}
				})
			})
		}
	}
	all.Wait()
	return nil
}

// generate sends one load on a fixed grid of times: a slow answer never delays the next request, so that an outage is
// sampled as densely as the rest. Phases differ by client, load and seed, so that clients do not ask in lockstep.
func (c *Client) generate(ctx context.Context, l labs.Load, fn func(labs.Sample)) {
	var flight sync.WaitGroup
	defer flight.Wait()
	slots := make(chan struct{}, c.o.InFlight)
	every := time.Duration(float64(time.Second) / l.Rate)
	next := c.o.Mono() + c.phase(l, every)
	for pause(ctx, time.Duration(next-c.o.Mono())) {
		if now := c.o.Mono(); now-next > int64(time.Second) {
			next = now // this process was starved: skip what was missed rather than flood
		}
		next += int64(every)
		select {
		case slots <- struct{}{}:
		default:
			now := c.o.Mono()
			fn(labs.Sample{
				Client: c.o.Network.Name, Load: l.Name, Start: now, End: now,
				Error: "too many requests are waiting for an answer",
			})
			continue
		}
		flight.Go(func() {
			defer func() { <-slots }()
			fn(c.Do(ctx, l))
		})
	}
}

// phase is where on the grid a load of this client begins: FNV-1a of client, load and both seeds.
func (c *Client) phase(load labs.Load, every time.Duration) int64 {
	h := uint64(14695981039346656037) ^ c.o.Seed ^ load.Seed
	for _, b := range []byte(c.o.Network.Name + "\x00" + load.Name) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return int64((h ^ h>>32) % uint64(every))
}

// loadsOf picks the loads that this client takes part in.
func (c *Client) loadsOf(loads []labs.Load) []labs.Load {
	var mine []labs.Load
	for _, l := range loads {
		if len(l.From) == 0 {
			mine = append(mine, l)
			continue
		}
		if slices.Contains(l.From, c.o.Network.Name) {
			mine = append(mine, l)
		}
	}
	return mine
}
