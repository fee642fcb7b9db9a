package drill

import (
	"net/netip"
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
	Run        int               `json:"run,omitempty"` // from 1, of Runs, when the drill was repeated in one lab
	Runs       int               `json:"runs,omitempty"`
	Started    time.Time         `json:"started"`
	Length     Span              `json:"length_s"`
	Pass       bool              `json:"pass"`
	Incomplete string            `json:"incomplete,omitempty"` // why the run ended early
	Lets       map[string]string `json:"lets,omitempty"`

	Warnings []string `json:"warnings,omitempty"` // what makes the figures doubtful
	Lateness Lateness `json:"timer_lateness"`

	Faults       []FaultReport  `json:"faults"`
	Expectations []Verdict      `json:"expectations"`
	Clients      []ClientReport `json:"clients"`
	Routers      []RouterReport `json:"routers"`
	Nodes        []NodeReport   `json:"nodes"`
	POPs         []POPReport    `json:"pops"`

	// Evaluate always sets the following; Trimmed leaves them out.
	Zero     int64               `json:"zero_mono,omitempty"` // of Samples and Events: when the clock started
	Baseline []labs.RouterStatus `json:"baseline,omitempty"`  // where the routers' best paths led then
	Samples  []labs.Sample       `json:"samples,omitempty"`
	Events   []event.Event       `json:"events,omitempty"`
}

// Trimmed is a copy without samples, events and what they start from.
func (r *Report) Trimmed() *Report {
	c := *r
	c.Zero, c.Baseline, c.Samples, c.Events = 0, nil, nil, nil
	return &c
}

// Lateness is how late this process's timers fired while the drill ran: what a starved machine adds to every time.
type Lateness struct {
	Timers int  `json:"timers"`
	P99    Span `json:"p99_s"`
	Max    Span `json:"max_s"`
}

// FaultReport is one step as it was carried out.
type FaultReport struct {
	labs.Fault
	Target string `json:"target"` // the subject, a let resolved
	Due    Span   `json:"due_s"`
	At     Span   `json:"at_s"`
	Took   Span   `json:"took_s"`
	POP    string `json:"pop,omitempty"`      // that it hits, if it is one
	Healed *Span  `json:"healed_s,omitempty"` // when a later step began to undo it; absent if none did, or for a step that undoes
}

// Verdict is one expectation with what was found.
type Verdict struct {
	Window string   `json:"window"`
	Text   string   `json:"text"`
	Pos    string   `json:"pos"`
	Pass   bool     `json:"pass"`
	Found  string   `json:"found"`
	Value  *float64 `json:"value,omitempty"`  // Found as a number; absent for POPs, without evidence, and for forever
	Unit   string   `json:"unit,omitempty"`   // of a measured number: "s", "share" (0 to 1) or "count"
	Worse  string   `json:"worse,omitempty"`  // of a measured number: "higher" or "lower" is what the expectation forbids
	Cause  string   `json:"cause,omitempty"`  // of a failure: the defect that it looks like, in a few words
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
	Before       string       `json:"catchment_before"` // the POP of the last good answer before the first fault
	During       string       `json:"catchment_during"` // before the first step that undoes something, else before the end
	After        string       `json:"catchment_after"`  // before the end
	Samples      int          `json:"samples"`
	Lost         int          `json:"lost"`
	WrongBodies  int          `json:"wrong_bodies"`
	EmptyAnswers int          `json:"empty_answers"`
	HitRatio     float64      `json:"hit_ratio"` // of good answers: those from the first node's own cache
	Latency50    Span         `json:"latency_p50_s"`
	Latency99    Span         `json:"latency_p99_s"`
	Longest      Span         `json:"longest_outage_s"`
	Outages      []Outage     `json:"outages,omitempty"`
	Answers      []AnswerSpan `json:"dns_answers,omitempty"`
}

// AnswerSpan is a time in which a client went by one DNS answer for a load: from the end of the first request that did
// to that of the first which went by another.
type AnswerSpan struct {
	From   Span       `json:"from_s"`
	To     Span       `json:"to_s"`
	Answer string     `json:"answer"` // POPs joined by "+", "anycast" or "empty"
	Server netip.Addr `json:"server"` // who gave it first
	Node   string     `json:"node,omitempty"`
}

// RouterReport is how long one router's best paths led to a POP after each of its faults.
type RouterReport struct {
	Router      string       `json:"router"`
	Withdrawals []Withdrawal `json:"withdrawals"`
	Best        []BestSpan   `json:"best"`
}

// BestSpan is a time in which a router's best path for an anycast prefix led one way. Without a route POP is "".
type BestSpan struct {
	From   Span   `json:"from_s"`
	To     Span   `json:"to_s"`
	Prefix string `json:"prefix"`
	Via    string `json:"via,omitempty"`
	POP    string `json:"pop"`
}

// NodeReport is how one node saw the health of the POPs.
type NodeReport struct {
	Node  string     `json:"node"`
	POP   string     `json:"pop"`
	Views []ViewSpan `json:"views"`
}

// ViewSpan is a time in which a node held a POP's service to be in one state. Before the first change that was
// recorded, the state is "up": a lab in which a POP is down does not converge.
type ViewSpan struct {
	From    Span   `json:"from_s"`
	To      Span   `json:"to_s"`
	POP     string `json:"pop"`
	Service string `json:"service"` // "web", "dns"
	State   string `json:"state"`
	Cause   string `json:"cause,omitempty"`
}

// POPReport is what one POP answered, second by second.
type POPReport struct {
	POP     string         `json:"pop"`
	Seconds []SecondReport `json:"seconds"`
}

// SecondReport counts the good answers that ended within one second of the clock.
type SecondReport struct {
	At       int     `json:"at_s"`
	Good     int     `json:"good"`
	Hits     int     `json:"hits"` // from the first node's own cache
	HitRatio float64 `json:"hit_ratio"`
}

// Withdrawal is one router's time to let go of a POP, per address family; a family is absent if the router's best path
// did not lead there.
type Withdrawal struct {
	Verb   labs.Verb       `json:"verb"`
	POP    string          `json:"pop"`
	Family map[string]Span `json:"families_s"` // "ipv4", "ipv6"
}
