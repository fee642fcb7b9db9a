package health

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// Step is how far a node's drain has come: the ladder of design §6.
type Step uint8

// The steps, in their order. NoStep is a node that nobody drains.
const (
	NoStep        Step = iota
	StepDNS            // name servers stop naming it
	StepGSHUT          // its anycast routes ask to be avoided (RFC 8326)
	StepWithdrawn      // it has no anycast routes
	StepDown           // its sessions are closed: the process ends
)

var stepNames = [...]string{"none", "dns", "gshut", "withdrawn", "down"}

func (s Step) String() string {
	if int(s) < len(stepNames) {
		return stepNames[s]
	}
	return fmt.Sprintf("Step(%d)", uint8(s))
}

// MarshalText writes the step as its name.
func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a step's name.
func (s *Step) UnmarshalText(text []byte) error {
	i := slices.Index(stepNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("step of a drain %q: want one of %v", text, stepNames)
	}
	*s = Step(i)
	return nil
}

// Progress is how far a drain has come, by the word of the node that is drained. The zero value is no drain.
type Progress struct {
	Step     Step      `json:"step"`
	Since    time.Time `json:"since"`          // when the step began, by that node's clock; on the wire to the millisecond
	Requests uint32    `json:"requests"`       // of clients, on anycast addresses, in the last second
	Kept     bool      `json:"kept,omitempty"` // it goes no further for now: no other healthy node would take its clients
}

// SetProgress notes how far this node's own drain has come.
func (f *Fleet) SetProgress(_ time.Time, p Progress) { f.progress = p }

// same reports whether two differ in nothing that a reader acts upon.
func (p Progress) same(o Progress) bool {
	return p.Step == o.Step && p.Kept == o.Kept && p.Since.Equal(o.Since)
}

// flags are those of a record with that progress.
func (p Progress) flags() byte {
	switch {
	case p.Step == NoStep:
		return 0
	case p.Kept:
		return flagStep | flagKept
	}
	return flagStep
}

// append writes the progress to a record; nothing without a step.
func (p Progress) append(b []byte) []byte {
	if p.Step == NoStep {
		return b
	}
	b = appendTime(append(b, byte(p.Step)), p.Since)
	return binary.AppendUvarint(b, uint64(p.Requests))
}

// progress reads what append wrote, if the flags say that there is something.
func (d *decoder) progress(flags byte) Progress {
	if flags&flagStep == 0 {
		d.check(flags&flagKept == 0)
		return Progress{}
	}
	p := Progress{Step: Step(d.upTo(byte(StepDown))), Kept: flags&flagKept != 0}
	d.check(p.Step != NoStep)
	p.Since = d.time()
	p.Requests = uint32(d.uvarint(math.MaxUint32))
	return p
}
