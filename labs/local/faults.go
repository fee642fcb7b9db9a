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
	return labs.Caps{Verbs: []labs.Verb{labs.Kill, labs.Freeze, labs.Drain, labs.Undrain, labs.Cut, labs.Blackhole, labs.Heal}}
}

// Caps says which faults the lab can do.
func (l *Lab) Caps() labs.Caps { return caps() }

// Do carries out one fault. The event that records it is stamped before the deed, so that every effect comes after it.
func (l *Lab) Do(ctx context.Context, f labs.Fault) error {
	e := event.Event{Time: time.Now(), Mono: event.Mono(), Node: "lab", Kind: event.Fault, Subject: f.Subject, State: string(f.Verb)}
	if err := l.do(ctx, f); err != nil {
		return fmt.Errorf("%s %s: %w", f.Verb, f.Subject, err)
	}
	l.ring.Add(e)
	return nil
}

func (l *Lab) do(ctx context.Context, f labs.Fault) error {
	switch f.Verb {
	case labs.Kill:
		return l.nodes.Kill(f.Subject)
	case labs.Freeze:
		return l.nodes.Freeze(f.Subject)
	case labs.Drain, labs.Undrain:
		return l.nodes.Drain(ctx, f.Subject, f.Verb == labs.Drain)
	case labs.Cut, labs.Blackhole:
		return l.breakLink(f.Subject, f.Verb)
	case labs.Heal:
		return l.heal(ctx, f.Subject)
	}
	return fmt.Errorf("the local runner cannot do this; it can %v", caps().Verbs)
}

func (l *Lab) breakLink(name string, verb labs.Verb) error {
	do := l.fabric.Cut
	if verb == labs.Blackhole {
		do = l.fabric.Blackhole
	}
	link, err := l.fabric.HasLink(name)
	if err != nil {
		return err
	}
	name = link.Name()
	if err := do(name); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts[name] = verb
	return nil
}

// heal undoes whatever faults have been done to the subject.
func (l *Lab) heal(ctx context.Context, subject string) error {
	if link, err := l.fabric.HasLink(subject); err == nil {
		subject = link.Name()
	}
	l.mu.Lock()
	_, cut := l.cuts[subject]
	delete(l.cuts, subject)
	l.mu.Unlock()
	if cut {
		return l.fabric.HealLink(subject)
	}
	return l.nodes.Heal(ctx, subject)
}
