package health

import "time"

// Verdict is what one probe says of one service.
type Verdict struct {
	OK      bool
	Refused bool   // the target's own kernel said that nobody listens; only with !OK
	Ours    bool   // the fault is on our own side, as when we have no route to the target: no verdict on it; only with !OK
	Shared  string // what the service names as failing for all POPs alike, an origin or a database; only with OK
	Text    string // why it is bad: "no answer within 80ms"; empty when it is good

	Scheduled time.Time     // when the probe was to begin
	Fired     time.Time     // when it did begin
	Took      time.Duration // from Fired to the verdict
	// Late is by how much the later of the probe's two timers (its beginning and its deadline) fired after its time, or
	// how long the service itself waited for a processor, where that is known and longer. A large one means that one of
	// them got no processor, so that a bad verdict does not say that the service hangs.
	Late time.Duration
}
