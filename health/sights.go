package health

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// Sights are one node's opinions of checks, or as many of them as one datagram holds.
type Sights struct {
	Node        string
	Incarnation uint64 // of the node's hub, as in a Record
	Seq         uint64 // grows with each sending
	List        []Sight
}

// Sight is an opinion of one check.
type Sight struct {
	Key  uint64 // of the check
	OK   bool
	Text string // why not
}

// Sights on the wire, version 1. Numbers are uvarints unless said; a string is its length and its bytes.
//
//	version (1 byte) │ node │ incarnation │ seq │ count, then each: key (8 bytes) │ flags (1 byte: 1 OK) │ text, if not OK
const (
	sightsVersion = 1
	sightHead     = 1 + 1 + maxName + 3*binary.MaxVarintLen64 // bytes of a message without its list, at most
	maxSightText  = 48                                        // bytes
)

// OwnSights are this node's opinions, in as many messages as their sizes ask for, each at most MaxRecord bytes. Each call
// makes newer ones.
func (f *Fleet) OwnSights(now time.Time) []Sights {
	if f.incarnation == 0 {
		f.incarnation = uint64(max(now.UnixNano(), 1))
	}
	f.targets.seq++
	var out []Sights
	size := MaxRecord // the first opinion opens a message
	for _, c := range f.targets.checks {
		v, ok := c.votes[f.name]
		if !ok {
			continue
		}
		s := Sight{c.key, v.ok, v.text}
		if size += s.size(); size > MaxRecord {
			size = sightHead + s.size()
			out = append(out, Sights{Node: f.name, Incarnation: f.incarnation, Seq: f.targets.seq})
		}
		last := &out[len(out)-1]
		last.List = append(last.List, s)
	}
	return out
}

func (s *Sight) size() int { return 8 + 1 + 1 + min(len(s.Text), maxSightText) }

// MarshalBinary encodes the message. One that is over MaxRecord bytes is an error.
func (s Sights) MarshalBinary() ([]byte, error) {
	if len(s.Node) > maxName {
		return nil, fmt.Errorf("sights of node %q: the name is longer than %d bytes", s.Node, maxName)
	}
	b := appendText([]byte{sightsVersion}, s.Node, maxName)
	b = binary.AppendUvarint(b, s.Incarnation)
	b = binary.AppendUvarint(b, s.Seq)
	b = binary.AppendUvarint(b, uint64(len(s.List)))
	for _, one := range s.List {
		b = binary.BigEndian.AppendUint64(b, one.Key)
		if one.OK {
			b = append(b, flagOK)
			continue
		}
		b = appendText(append(b, 0), one.Text, maxSightText)
	}
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("sights of node %q: %d bytes with %d checks, want at most %d", s.Node, len(b), len(s.List), MaxRecord)
	}
	return b, nil
}

// UnmarshalBinary decodes a message. An unknown version, a value out of its range and bytes left over are errors.
func (s *Sights) UnmarshalBinary(data []byte) error {
	d := decoder{rest: data}
	if v := d.byte(); d.err == nil && v != sightsVersion {
		return fmt.Errorf("sights of version %d: want %d", v, sightsVersion)
	}
	got := Sights{Node: d.text(maxName), Incarnation: d.uvarint(math.MaxUint64), Seq: d.uvarint(math.MaxUint64)}
	for range d.uvarint(maxList) {
		one := Sight{Key: binary.BigEndian.Uint64(d.take(8))}
		if one.OK = d.upTo(flagOK) == flagOK; !one.OK {
			one.Text = d.text(maxSightText)
		}
		if d.err != nil {
			break
		}
		got.List = append(got.List, one)
	}
	d.check(len(d.rest) == 0)
	if d.err != nil {
		return d.err
	}
	got.List = slices.Clip(got.List)
	*s = got
	return nil
}
