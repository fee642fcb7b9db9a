package wire

import (
	"net/netip"
	"time"
)

// Decoder follows the sessions of one cable. Its zero value is ready. It is not safe for concurrent use.
type Decoder struct {
	streams map[way]*stream
}

// way is one direction of a connection.
type way struct{ from, to netip.AddrPort }

// stream is what one end has said so far.
type stream struct {
	next    uint32 // the sequence number that comes
	buf     []byte // of a message that is not whole yet
	updates int
	lost    bool // the rest cannot be read: it began before we listened, or is no BGP
}

// maxStreams bounds what connections are remembered: a session that flaps makes two each time.
const maxStreams = 4096

// Frame takes a frame that crossed at a time and returns what was said in it.
func (d *Decoder) Frame(at time.Time, frame []byte) []Event {
	s, ok := parse(frame)
	if !ok || s.from.Port() != bgpPort && s.to.Port() != bgpPort {
		return nil
	}
	if d.streams == nil || len(d.streams) > maxStreams {
		d.streams = map[way]*stream{}
	}
	key := way{s.from, s.to}
	st := d.streams[key]
	if s.syn || st == nil {
		st = &stream{next: s.seq}
		if s.syn {
			st.next++
		}
		d.streams[key] = st
	}
	said := func(e Event) Event {
		e.At, e.From, e.To = at, s.from, s.to
		return e
	}
	var all []Event
	if late := int32(st.next - s.seq); late >= 0 && int(late) < len(s.payload) { // what is sent again is taken once
		st.next += uint32(len(s.payload) - int(late))
		for _, e := range st.take(s.payload[late:]) {
			all = append(all, said(e))
		}
	} else if late < 0 {
		st.lost = true // a gap: never on these cables
	}
	if s.fin {
		all = append(all, said(Event{Kind: Fin}))
	}
	if s.rst {
		all = append(all, said(Event{Kind: Reset}))
	}
	return all
}

// take adds what the end has said and reads the messages that are whole.
func (s *stream) take(data []byte) []Event {
	if s.lost {
		return nil
	}
	s.buf = append(s.buf, data...)
	var all []Event
	for {
		kind, body, size, err := message(s.buf)
		if err != nil {
			s.lost, s.buf = true, nil
			return all
		}
		if size == 0 {
			return all
		}
		switch kind {
		case typeUpdate:
			s.updates++
			for _, e := range update(body) {
				e.Update = s.updates
				all = append(all, e)
			}
		case typeNotification:
			all = append(all, Event{Kind: Notification})
		}
		s.buf = s.buf[size:]
	}
}
