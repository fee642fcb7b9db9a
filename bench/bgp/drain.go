//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/labs"
)

// drain takes the first POP out of service as the speaker's documents say, and returns when the service may stop.
type drain func(ctx context.Context, c *scene) error

// drainWithin bounds a drain, which ends when no client has asked for a second.
const drainWithin = 40 * time.Second

// drainBySignal sends SIGTERM: the speaker sheds, waits for silence, withdraws and ends.
func drainBySignal(ctx context.Context, c *scene) error {
	if err := c.signal(ctx, node(0)+"/speaker", syscall.SIGTERM); err != nil {
		return err
	}
	return c.await(ctx, drainWithin, func() string {
		if _, err := c.pid(ctx, node(0)+"/speaker"); err == nil {
			return "the speaker still runs"
		}
		return ""
	})
}

// drainByCommand asks the node, and waits until it has withdrawn.
func drainByCommand(ctx context.Context, c *scene) error {
	began := time.Now()
	if err := c.do(ctx, labs.Drain, "best"); err != nil {
		return err
	}
	return c.await(ctx, drainWithin, func() string {
		for _, p := range prefixes {
			if c.records[0].gone(p, began).IsZero() {
				return fmt.Sprintf("%s is not withdrawn", p)
			}
		}
		return ""
	})
}

// drainByFile tells a health script that the service is disabled, waits until it has withdrawn, and another second.
func drainByFile(ctx context.Context, c *scene) error {
	began := time.Now()
	if err := os.WriteFile(filepath.Join(c.home, "r/b/nodes", node(0), "disabled"), nil, 0o600); err != nil {
		return err
	}
	err := c.await(ctx, drainWithin, func() string {
		for _, p := range prefixes {
			if c.records[0].gone(p, began).IsZero() {
				return fmt.Sprintf("%s is not withdrawn", p)
			}
		}
		return ""
	})
	sleep(ctx, time.Second)
	return err
}

// drained is one drain under load.
type drained struct {
	lost             []float64 // by family
	when             []string  // of the lost and of what the POP said meanwhile, from the beginning of the drain
	inFlight, broken float64   // transfers
}

// drainTrial drains the first POP and stops its service.
func (c *scene) drainTrial(ctx context.Context) (drained, error) {
	var d drained
	flights, stop := context.WithCancel(ctx)
	defer stop()
	var t transfers
	c.parts.Go(func() { t.run(flights, c) })
	sleep(ctx, transferTime)
	began := time.Now()
	at := t.started.Load() - t.ended.Load()
	if err := c.speaker.drain(ctx, c); err != nil {
		return d, err
	}
	for _, name := range c.speaker.victim {
		if err := c.do(ctx, labs.Kill, node(0)+"/"+name); err != nil {
			return d, err
		}
	}
	err := c.await(ctx, movedWithin, func() string {
		for i, l := range c.loads {
			if !l.settled(next, settledRequests) {
				return fmt.Sprintf("the second POP does not serve %s", families[i])
			}
		}
		return ""
	})
	ended := time.Now()
	sleep(ctx, rest) // a busy machine's answers may be late, and are no losses
	for i, l := range c.loads {
		if first, last := l.gap(began.Add(-before), ended); !first.IsZero() {
			d.when = append(d.when, fmt.Sprintf("%s lost from %v to %v", families[i], first.Sub(began), last.Sub(began)))
		}
		d.lost = append(d.lost, float64(l.lost(began.Add(-before), ended, 1)))
	}
	if d.when != nil {
		for _, e := range c.records[0].since(began) {
			d.when = append(d.when, fmt.Sprintf("%v %v %v", e.Kind, e.Prefix, e.At.Sub(began)))
		}
	}
	d.inFlight, d.broken = float64(at), float64(t.broken.Load())
	return d, err
}

// transfers start twenty times a second and take two seconds each.
type transfers struct {
	started, ended, broken atomic.Int64
}

func (t *transfers) run(ctx context.Context, c *scene) {
	client, err := c.lab.Inside("client")
	if err != nil {
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	for ctx.Err() == nil {
		all.Go(func() {
			conn, err := client.DialContext(ctx, "tcp", net.JoinHostPort(vips[0].String(), fmt.Sprint(webPort)))
			if err != nil {
				return
			}
			t.started.Add(1)
			defer t.ended.Add(1)
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			if !whole(conn) && ctx.Err() == nil {
				t.broken.Add(1)
			}
		})
		sleep(ctx, 50*time.Millisecond)
	}
}

// whole reports whether a transfer came to its end.
func whole(conn net.Conn) bool {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * transferTime))
	fmt.Fprintf(conn, "GET /transfer HTTP/1.0\r\n\r\n")
	text, err := io.ReadAll(conn)
	return err == nil && bytes.HasSuffix(text, []byte("END"))
}
