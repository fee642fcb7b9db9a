package gossip

import (
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"

	"github.com/catchment-net/catchment/internal/event"
)

// delegate is the pool as memberlist sees it.
type delegate struct{ p *Pool }

var (
	_ memberlist.Delegate      = delegate{}
	_ memberlist.EventDelegate = delegate{}
)

// NodeMeta is empty: what a node says of itself is gossiped under keys, and over 512 bytes here would panic.
func (d delegate) NodeMeta(int) []byte { return nil }

// NotifyMsg takes a message and passes it on, the first time that it comes.
func (d delegate) NotifyMsg(msg []byte) {
	p := d.p
	id, key, payload, err := open(msg)
	if err != nil {
		p.refuse(key, err)
		return
	}
	if !p.seen.first(id) {
		p.metrics.received.WithLabelValues("again").Inc()
		return
	}
	p.metrics.received.WithLabelValues("first").Inc()
	if len(msg) <= p.limit {
		p.enqueue(slices.Clone(msg)) // memberlist may use its buffer again
	}
	p.merge(key, payload)
}

// GetBroadcasts hands memberlist what waits for gossip.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.p.queue.GetBroadcasts(overhead, limit)
}

// LocalState is our half of a full exchange. States that would make it too large are left out.
func (d delegate) LocalState(bool) []byte {
	p := d.p
	p.mu.RLock()
	states := maps.Clone(p.states)
	p.mu.RUnlock()
	var buf []byte
	for key, s := range states {
		payload := s.Marshal()
		switch {
		case payload == nil:
		case len(buf)+len(payload) > maxExchange:
			p.metrics.dropped.WithLabelValues("exchange").Inc()
		default:
			buf = appendEntry(buf, key, payload)
		}
	}
	return buf
}

// MergeRemoteState is the other half.
func (d delegate) MergeRemoteState(buf []byte, _ bool) {
	if len(buf) > maxExchange+maxExchange/2 {
		d.p.refuse("", errExchange)
		return
	}
	if err := entries(buf, d.p.merge); err != nil {
		d.p.refuse("", err)
	}
}

// merge hands a payload to the state under its key. A key that nobody registered may belong to a newer version.
func (p *Pool) merge(key string, payload []byte) {
	p.mu.RLock()
	s := p.states[key]
	p.mu.RUnlock()
	if s == nil {
		p.metrics.dropped.WithLabelValues("key").Inc()
		return
	}
	if err := s.Merge(payload); err != nil {
		p.refuse(key, err)
	}
}

// refuse notes a message that makes no sense.
func (p *Pool) refuse(key string, err error) {
	p.metrics.dropped.WithLabelValues("malformed").Inc()
	p.o.Logger.Debug("gossip refused", "pool", string(p.o.Kind), "key", key, "error", err)
}

// NotifyJoin reports a member. It is called with memberlist's lock held and must not ask it anything.
func (d delegate) NotifyJoin(n *memberlist.Node) { d.report(n, "joined", "") }

// NotifyLeave reports that a member is gone. memberlist 0.7.0 does not say here which of the two it was.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.report(n, "left", "said goodbye, or answers nobody")
}

// NotifyUpdate is about metadata, of which there is none.
func (d delegate) NotifyUpdate(*memberlist.Node) {}

func (d delegate) report(n *memberlist.Node, state, cause string) {
	if n.Name == d.p.o.Name {
		return
	}
	d.p.o.Events.Add(event.Event{
		Kind: event.Member, Subject: n.Name, State: state, Cause: cause,
		Detail: map[string]string{"pool": string(d.p.o.Kind), "address": n.Address()},
	})
}

// logWriter turns memberlist's lines ("[WARN] memberlist: …") into records.
type logWriter struct{ log *slog.Logger }

// perPacket are parts of lines that memberlist writes for single packets and exchanges, in quantity while a member is
// gone. The metrics and events tell that better.
var perPacket = []string{"ping", "gossip to", "ush/pull", "ush/Pull", "Suspect", "Refuting", "receive", "stream", "Stream", "label"} //nolint:gochecknoglobals // a constant list

func (w logWriter) Write(line []byte) (int, error) {
	level, text, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
	if !ok {
		level, text = "", strings.TrimSpace(string(line))
	}
	text = strings.TrimPrefix(text, "memberlist: ")
	is := func(part string) bool { return strings.Contains(text, part) }
	if (level == "[WARN]" || level == "[ERR]") && !slices.ContainsFunc(perPacket, is) {
		w.log.Warn("memberlist", "text", text)
	} else {
		w.log.Debug("memberlist", "text", text)
	}
	return len(line), nil
}
