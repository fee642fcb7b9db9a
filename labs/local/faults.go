package local

import (
	"context"
	"fmt"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// caps is what the local runner can do on every host that it runs on.
func caps() labs.Caps {
	return labs.Caps{Verbs: labs.Verbs()}
}

// Caps says which faults the lab can do.
func (l *Lab) Caps() labs.Caps { return caps() }

// Do carries out one fault. The event that records it is stamped before the deed, so that every effect comes after it.
func (l *Lab) Do(ctx context.Context, f labs.Fault) error {
	e := event.Event{Time: time.Now(), Mono: event.Mono(), Node: "lab", Kind: event.Fault, Subject: f.Subject, State: string(f.Verb), Cause: f.Arg}
	if err := l.do(ctx, f); err != nil {
		return fmt.Errorf("%s %s: %w", f.Verb, f.Subject, err)
	}
	l.ring.Add(e)
	return nil
}

func (l *Lab) do(ctx context.Context, f labs.Fault) error {
	if front := l.world.Front(f.Subject); front != nil {
		return front.Do(ctx, f)
	}
	switch f.Verb {
	case labs.Kill:
		return l.nodes.Kill(f.Subject)
	case labs.Freeze:
		return l.nodes.Freeze(f.Subject)
	case labs.Drain, labs.Undrain:
		return l.nodes.Drain(ctx, f.Subject, f.Verb == labs.Drain)
	case labs.Partition:
		return l.fabric.Partition(f.Subject)
	case labs.Mute:
		return l.fabric.Mute(f.Subject)
	case labs.Skew:
		return l.nodes.Skew(f.Subject, f.Arg)
	case labs.Fill:
		return l.nodes.Fill(f.Subject)
	case labs.Cut:
		return l.fabric.Cut(f.Subject)
	case labs.Blackhole:
		return l.fabric.Blackhole(f.Subject)
	case labs.Slow, labs.Lossy:
		return l.impair(f)
	case labs.Heal:
		return l.heal(ctx, f.Subject)
	}
	return fmt.Errorf("the local runner cannot do this; it can %v", caps().Verbs)
}

// impair makes a link slow or lossy.
func (l *Lab) impair(f labs.Fault) error {
	if f.Verb == labs.Slow {
		d, err := f.Delay()
		if err != nil {
			return err
		}
		return l.fabric.Slow(f.Subject, d)
	}
	loss, err := f.Loss()
	if err != nil {
		return err
	}
	return l.fabric.Lossy(f.Subject, loss)
}

// heal undoes whatever faults have been done to the subject.
func (l *Lab) heal(ctx context.Context, subject string) error {
	if link, err := l.fabric.HasLink(subject); err == nil {
		return l.fabric.HealLink(link.Name())
	}
	if l.topo.POP(subject) != nil || l.topo.Node(subject) != nil {
		if err := l.fabric.HealSubject(subject); err != nil {
			return err
		}
	}
	return l.nodes.Heal(ctx, subject)
}
