package dnsd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/catchment-net/catchment/dnsd/wire"
)

// QueryLog says which queries are written down, and where.
type QueryLog struct {
	Writer io.Writer // one JSON object a line; nil: no log
	Every  int       // each reader writes down one query of so many; zero means all
}

// logQueue is how many sampled queries wait for the writer; what finds no room is counted and lost, since a slow disk
// must not hold up answers.
const logQueue = 4096

// logged is one query in the queue, without pointers so that writing it down allocates nothing.
type logged struct {
	at     time.Time
	client netip.Addr
	tcp    bool
	name   [wire.MaxName]byte
	length int
	qtype  uint16
	class  uint16
	rcode  int
	size   int
	ecs    netip.Prefix
	scope  uint8
	chosen int
}

// line is the form in the file.
type line struct {
	Time      time.Time `json:"time"`
	Client    string    `json:"client"`
	Transport string    `json:"transport"`
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	Class     string    `json:"class,omitempty"` // unless IN
	Rcode     string    `json:"rcode"`
	Bytes     int       `json:"bytes"`
	Subnet    string    `json:"subnet,omitempty"` // of the client, as he says
	Scope     *uint8    `json:"scope,omitempty"`  // for whom the answer holds, where there was a subnet
	To        string    `json:"to,omitempty"`     // the POP chosen
}

// queryLog carries sampled queries to a writer. A nil queryLog logs nothing.
type queryLog struct {
	every   int
	queue   chan logged
	dropped atomic.Uint64
	out     *json.Encoder
}

func newQueryLog(o QueryLog) (*queryLog, error) {
	switch {
	case o.Every < 0:
		return nil, fmt.Errorf("query log of every %d queries; want 1 or more", o.Every)
	case o.Writer == nil:
		return nil, nil //nolint:nilnil // a nil queryLog logs nothing
	}
	return &queryLog{every: max(o.Every, 1), queue: make(chan logged, logQueue), out: json.NewEncoder(o.Writer)}, nil
}

func (l *queryLog) lost() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// sample writes the query down that was just answered, if it is its turn.
func (w *worker) sample(b *body, scope uint8, from asker, size int) {
	l := w.s.log
	if l == nil {
		return
	}
	if w.unlogged++; w.unlogged < l.every {
		return
	}
	w.unlogged = 0
	q := &w.q
	e := logged{
		at: w.now, client: from.addr, tcp: from.tcp, qtype: q.Type, class: q.Class, rcode: int(b.rcode), size: size, scope: scope, chosen: int(b.chosen),
	}
	e.length = copy(e.name[:], q.Name)
	if a := q.EDNS.ECS.Addr(); a.IsValid() {
		e.ecs = netip.PrefixFrom(a, int(q.EDNS.ECS.Source))
	}
	select {
	case l.queue <- e:
	default:
		l.dropped.Add(1)
	}
}

// run writes until ctx is done, and then what is still in the queue. A line that cannot be written counts as lost: a full
// disk is no reason to stop answering.
func (l *queryLog) run(ctx context.Context, name func(chosen int) string) {
	for {
		select {
		case e := <-l.queue:
			l.write(&e, name)
		case <-ctx.Done():
			for {
				select {
				case e := <-l.queue:
					l.write(&e, name)
				default:
					return
				}
			}
		}
	}
}

func (l *queryLog) write(e *logged, name func(chosen int) string) {
	if l.out.Encode(e.line(name)) != nil {
		l.dropped.Add(1)
	}
}

func (e *logged) line(name func(chosen int) string) line {
	l := line{
		Time: e.at, Client: e.client.String(), Transport: "udp", Name: ".", Type: dns.Type(e.qtype).String(),
		Rcode: rcodeLabels()[rcodeNumber(e.rcode)], Bytes: e.size, To: name(e.chosen),
	}
	if e.length > 0 {
		l.Name = wire.Text(e.name[:e.length])
	}
	if e.tcp {
		l.Transport = "tcp"
	}
	if e.class != dns.ClassINET {
		l.Class = dns.Class(e.class).String()
	}
	if e.ecs.IsValid() {
		l.Subnet, l.Scope = e.ecs.String(), &e.scope
	}
	return l
}
