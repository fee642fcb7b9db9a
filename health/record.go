package health

import (
	"net/netip"
	"time"
)

// Record is one node's own word, as it is gossiped: how its services are, what it announces, and what its probes say of
// other POPs. Of two records of a node the one with the higher Incarnation, then the higher Seq, holds.
type Record struct {
	Node        string
	Incarnation uint64 // grows with each start of the node's hub
	Seq         uint64 // grows with each record of an incarnation
	Services    map[Service]ServiceView
	Claims      []netip.Prefix // anycast prefixes that it announces
	Observed    []Observation  // in order of POP and service
	Receipts    []Receipt      // in order of nodes
	Draining    bool           // an intent drains it
	Why         string         // the intent's reason
	Progress    Progress       // how far its drain has come; Requests are of the second before the record was made
}

// Observation is what a node's own probes say of a service of another POP.
type Observation struct {
	POP     string
	Service Service
	OK      bool
	Text    string        // why not OK
	Age     time.Duration // of the newest verdict, when the record was made; to the millisecond
}

// newer reports whether r replaces old.
func (r *Record) newer(old *Record) bool {
	if r.Incarnation != old.Incarnation {
		return r.Incarnation > old.Incarnation
	}
	return r.Seq > old.Seq
}
