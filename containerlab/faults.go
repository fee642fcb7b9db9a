package containerlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
)

// Do carries out one fault. The event that records it is stamped before the deed, so that every effect comes after it.
func (l *Lab) Do(ctx context.Context, f labs.Fault) error {
	e := event.Event{Time: time.Now(), Mono: event.Mono(), Node: "lab", Kind: event.Fault, Subject: f.Subject, State: string(f.Verb), Cause: f.Arg}
	if err := l.do(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	l.ring.Add(e)
	return nil
}

func (l *Lab) do(ctx context.Context, f labs.Fault) error {
	if !l.caps.Can(f.Verb) {
		return &labs.CannotError{What: string(f.Verb) + " in containers here", Fix: l.caps.Why[f.Verb]}
	}
	if front := l.world.Front(f.Subject); front != nil {
		return front.Do(ctx, f)
	}
	switch f.Verb {
	case labs.Kill:
		return l.boxes.kill(f.Subject)
	case labs.Freeze:
		return l.boxes.freeze(ctx, f.Subject)
	case labs.Drain, labs.Undrain:
		return l.fleet.Drain(ctx, f.Subject, f.Verb == labs.Drain)
	case labs.Partition:
		return l.wall(ctx, f.Subject, "partition", dropAll)
	case labs.Mute:
		return l.wall(ctx, f.Subject, "mute", gossipOnly)
	case labs.Cut, labs.Blackhole:
		return l.breakLink(ctx, f.Subject, linkFault{verb: f.Verb})
	case labs.Lossy:
		loss, err := f.Loss()
		if err != nil {
			return err
		}
		return l.breakLink(ctx, f.Subject, linkFault{verb: f.Verb, loss: loss})
	case labs.Slow:
		if l.unshaped != "" {
			return &labs.CannotError{What: "slow a link here", Fix: l.unshaped}
		}
		d, err := f.Delay()
		if err != nil {
			return err
		}
		return l.breakLink(ctx, f.Subject, linkFault{verb: f.Verb, delay: d})
	case labs.Skew:
		return l.boxes.skew(f.Subject, f.Arg)
	case labs.Fill:
		return l.boxes.fill(f.Subject)
	case labs.Heal:
		return l.heal(ctx, f.Subject)
	}
	return fmt.Errorf("want one of %v", l.caps.Verbs)
}

// wall puts a filter around a POP or node.
func (l *Lab) wall(ctx context.Context, subject, purpose, rule string) error {
	if err := l.isolate(ctx, subject, purpose, rule); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.walls[subject+" "+purpose] = true
	return nil
}

// heal undoes whatever faults have been done to the subject.
func (l *Lab) heal(ctx context.Context, subject string) error {
	if link, err := layout.FindLink(l.topo, subject); err == nil {
		return l.mendLink(ctx, link)
	}
	if err := l.boxes.heal(ctx, subject); err != nil {
		return err
	}
	var errs []error
	for _, purpose := range []string{"partition", "mute"} {
		l.mu.Lock()
		stands := l.walls[subject+" "+purpose]
		delete(l.walls, subject+" "+purpose)
		l.mu.Unlock()
		if stands {
			errs = append(errs, l.isolate(ctx, subject, purpose))
		}
	}
	errs = append(errs, l.impair(ctx), l.breakAgain(ctx)) // the cables of a container that was killed are new
	if l.fleet.Drained(subject) {
		errs = append(errs, l.fleet.Drain(ctx, subject, false))
	}
	return errors.Join(errs...)
}

// impair gives every link the loss, delay, jitter and rate that the topology says, as far as this host can.
func (l *Lab) impair(ctx context.Context) error {
	for _, w := range l.plan.Wires {
		if w.Link.Loss > 0 {
			if err := l.filterWire(ctx, w, "link_loss", loseSome(w.Link.Loss)); err != nil {
				return fmt.Errorf("lose some of %q: %w", w.Link.Name(), err)
			}
		}
		if l.unshaped != "" || w.Link.Delay == 0 && w.Link.Rate == 0 {
			continue
		}
		if err := l.shapeWire(ctx, w, 0); err != nil {
			return fmt.Errorf("delay %q: %w", w.Link.Name(), err)
		}
	}
	return nil
}

// Capture writes what crosses a link, as a pcap file, until ctx is done.
func (l *Lab) Capture(ctx context.Context, link string, w io.Writer) error {
	found, err := layout.FindLink(l.topo, link)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath("tcpdump"); err != nil {
		return &labs.CannotError{What: "capture packets", Fix: "install tcpdump"}
	}
	e, err := l.end(ctx, l.plan.OfLink(found)[0])
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(e.pid), "--net", "--", "tcpdump", "-i", e.iface, "-U", "-n", "-w", "-")
	cmd.Stdout = w
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("capture on %q: %w", found.Name(), err)
	}
	return nil
}
