package drill

import (
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// Report is the outcome of one run. Its JSON is stable: times in seconds on the drill's clock, null for forever.
type Report struct {
	Drill      string            `json:"drill"`
	Lab        string            `json:"lab"`
	Runner     string            `json:"runner"`
	Seed       uint64            `json:"seed"`
	Started    time.Time         `json:"started"`
	Length     Span              `json:"length_s"`
	Pass       bool              `json:"pass"`
	Incomplete string            `json:"incomplete,omitempty"` // why the run ended early
	Lets       map[string]string `json:"lets,omitempty"`

	Faults       []FaultReport  `json:"faults"`
	Expectations []Verdict      `json:"expectations"`
	Clients      []ClientReport `json:"clients"`
	Routers      []RouterReport `json:"routers"`

	Zero    int64         `json:"zero_mono,omitempty"` // of Samples and Events: when the clock started
	Samples []labs.Sample `json:"samples,omitempty"`
	Events  []event.Event `json:"events,omitempty"`
}

// FaultReport is one step as it was carried out.
type FaultReport struct {
	labs.Fault
	Target string `json:"target"` // the subject, a let resolved
	Due    Span   `json:"due_s"`
	At     Span   `json:"at_s"`
	Took   Span   `json:"took_s"`
}

// Verdict is one expectation with what was found.
type Verdict struct {
	Window string   `json:"window"`
	Text   string   `json:"text"`
	Pos    string   `json:"pos"`
	Pass   bool     `json:"pass"`
	Found  string   `json:"found"`
	Why    []string `json:"why,omitempty"`    // of a failure: which samples, routers or answers
	Around []string `json:"around,omitempty"` // of a failure: the timeline near it
}

// ClientReport is what one client network noticed.
type ClientReport struct {
	Client string                `json:"client"`
	City   string                `json:"city"`
	Users  float64               `json:"users"`
	Loads  map[string]LoadReport `json:"loads"`
}

// LoadReport is what one client noticed of one load while the clock ran.
type LoadReport struct {
	Before       string   `json:"catchment_before"` // the POP of the last good answer before the first fault
	During       string   `json:"catchment_during"` // before the first step that undoes something, else before the end
	After        string   `json:"catchment_after"`  // before the end
	Samples      int      `json:"samples"`
	Lost         int      `json:"lost"`
	WrongBodies  int      `json:"wrong_bodies"`
	EmptyAnswers int      `json:"empty_answers"`
	HitRatio     float64  `json:"hit_ratio"` // of good answers: those from the first node's own cache
	Latency50    Span     `json:"latency_p50_s"`
	Latency99    Span     `json:"latency_p99_s"`
	Longest      Span     `json:"longest_outage_s"`
	Outages      []Outage `json:"outages,omitempty"`
}

// RouterReport is how long one router's best paths led to a POP after each of its faults.
type RouterReport struct {
	Router      string       `json:"router"`
	Withdrawals []Withdrawal `json:"withdrawals"`
}

// Withdrawal is one router's time to let go of a POP, per address family; a family is absent if the router's best path
// did not lead there.
type Withdrawal struct {
	Verb   labs.Verb       `json:"verb"`
	POP    string          `json:"pop"`
	Family map[string]Span `json:"families_s"` // "ipv4", "ipv6"
}
