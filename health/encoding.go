package health

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Record on the wire, version 2. Numbers are uvarints unless said; a string is its length and its bytes.
//
//	version (1 byte) │ flags (1 byte: 1 draining, 2 a step, 4 kept) │ node │ incarnation │ seq │ why
//	with a step: step (1 byte) │ since (as below) │ requests
//	services: count, then each: service (1 byte) │ state (1; 128 suspect) │ class (1) │ since (varint, Unix ms; 0 none) │ text
//	claims:   count, then each: family (1 byte: 4, 6) │ bits (1 byte) │ the bits, in whole bytes
//	observed: count, then each: POP │ service (1 byte) │ flags (1 byte: 1 OK) │ age in ms │ text
//	receipts: count, then each: node │ incarnation │ seq
const (
	recordVersion = 2
	flagDraining  = 1
	flagStep      = 2
	flagKept      = 4
	flagOK        = 1
	flagSuspect   = 0x80 // of a state
)

// MaxRecord is how large an encoded Record may get, in bytes: with its frame it fits one datagram. Reasons are shortened
// and then left out, and at last the receipts, before anything else would make it larger.
const MaxRecord = 1200

// The bounds of what is decoded: beyond them a record is not one of ours.
const (
	maxName   = 64  // bytes of a node's or POP's name
	maxReason = 256 // bytes of a text
	maxList   = 600 // entries of a list
)

// reasonSizes are the lengths to which texts are shortened, one after the other, until the record fits.
var reasonSizes = [...]int{120, 48, 16, 0} //nolint:gochecknoglobals // a constant list

var (
	errRecordShort = errors.New("health record is cut short")
	errRecordValue = errors.New("health record holds an impossible value")
)

// MarshalBinary encodes the record. A record that is over MaxRecord without any text is an error.
func (r Record) MarshalBinary() ([]byte, error) {
	for _, reason := range reasonSizes {
		b, err := r.append(nil, reason)
		if err != nil {
			return nil, err
		}
		if len(b) <= MaxRecord {
			return b, nil
		}
	}
	r.Receipts = nil // who waits for one stays where it is
	b, err := r.append(nil, 0)
	if err != nil || len(b) <= MaxRecord {
		return b, err
	}
	return nil, fmt.Errorf("health record of node %q: %d bytes with %d claims and %d observations, want at most %d",
		r.Node, len(b), len(r.Claims), len(r.Observed), MaxRecord)
}

func (r Record) append(b []byte, reason int) ([]byte, error) {
	if len(r.Node) > maxName {
		return nil, fmt.Errorf("health record of node %q: the name is longer than %d bytes", r.Node, maxName)
	}
	flags := r.Progress.flags()
	if r.Draining {
		flags |= flagDraining
	}
	b = append(b, recordVersion, flags)
	b = appendText(b, r.Node, maxName)
	b = binary.AppendUvarint(b, r.Incarnation)
	b = binary.AppendUvarint(b, r.Seq)
	b = appendText(b, r.Why, reason)
	b = r.Progress.append(b)
	for s := range r.Services {
		if !slices.Contains(Services[:], s) {
			return nil, fmt.Errorf("health record of node %q: service %q", r.Node, s)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(r.Services)))
	for i, s := range Services { // in the order of the table: equal records have equal bytes
		v, ok := r.Services[s]
		if !ok {
			continue
		}
		state := byte(v.State)
		if v.Suspect {
			state |= flagSuspect
		}
		b = append(b, byte(i), state, byte(v.Cause.Class))
		b = appendTime(b, v.Cause.Since)
		b = appendText(b, v.Cause.Text, reason)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Claims)))
	for _, p := range r.Claims {
		if !p.IsValid() {
			return nil, fmt.Errorf("health record of node %q: claim %q is no prefix", r.Node, p)
		}
		b = appendPrefix(b, p)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Observed)))
	for _, o := range r.Observed {
		i := slices.Index(Services[:], o.Service)
		if i < 0 || len(o.POP) > maxName {
			return nil, fmt.Errorf("health record of node %q: observation of %q, service %q", r.Node, o.POP, o.Service)
		}
		flags := byte(0)
		if o.OK {
			flags |= flagOK
		}
		b = appendText(b, o.POP, maxName)
		b = append(b, byte(i), flags)
		b = binary.AppendUvarint(b, uint64(max(o.Age, 0)/time.Millisecond))
		b = appendText(b, o.Text, min(reason, 48))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Receipts)))
	for _, x := range r.Receipts {
		if len(x.Node) > maxName {
			return nil, fmt.Errorf("health record of node %q: receipt of %q", r.Node, x.Node)
		}
		b = appendText(b, x.Node, maxName)
		b = binary.AppendUvarint(b, x.Incarnation)
		b = binary.AppendUvarint(b, x.Seq)
	}
	return b, nil
}

// appendTime writes Unix milliseconds; the zero time is 0.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixMilli())
}

// appendText writes a string, cut to limit bytes at a rune's end.
func appendText(b []byte, s string, limit int) []byte {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	family := byte(6)
	if p.Addr().Is4() {
		family = 4
	}
	b = append(b, family, byte(p.Bits()))
	return append(b, p.Masked().Addr().AsSlice()[:(p.Bits()+7)/8]...)
}

// UnmarshalBinary decodes a record. An unknown version, a value out of its range and bytes left over are errors.
func (r *Record) UnmarshalBinary(data []byte) error {
	d := decoder{rest: data}
	if v := d.byte(); d.err == nil && v != recordVersion {
		return fmt.Errorf("health record of version %d: want %d", v, recordVersion)
	}
	flags := d.byte()
	d.check(flags <= flagDraining|flagStep|flagKept)
	got := Record{
		Draining: flags&flagDraining != 0, Node: d.text(maxName), Incarnation: d.uvarint(math.MaxUint64),
		Seq: d.uvarint(math.MaxUint64), Why: d.text(maxReason), Services: map[Service]ServiceView{},
	}
	got.Progress = d.progress(flags)
	for range d.uvarint(uint64(len(Services))) {
		s := d.service()
		_, twice := got.Services[s]
		d.check(!twice)
		state := d.byte()
		v := ServiceView{State: State(state &^ flagSuspect), Suspect: state&flagSuspect != 0}
		d.check(v.State <= Down)
		v.Cause.Class = Class(d.upTo(byte(Shared)))
		v.Cause.Since = d.time()
		v.Cause.Text = d.text(maxReason)
		got.Services[s] = v
	}
	for range d.uvarint(maxList) {
		got.Claims = append(got.Claims, d.prefix())
	}
	for range d.uvarint(maxList) {
		o := Observation{POP: d.text(maxName), Service: d.service()}
		o.OK = d.upTo(flagOK) == flagOK
		o.Age = time.Duration(d.uvarint(uint64(time.Hour/time.Millisecond))) * time.Millisecond
		o.Text = d.text(maxReason)
		got.Observed = append(got.Observed, o)
		if d.err != nil {
			break
		}
	}
	for range d.uvarint(maxReceipts) {
		got.Receipts = append(got.Receipts, Receipt{d.text(maxName), d.uvarint(math.MaxUint64), d.uvarint(math.MaxUint64)})
	}
	d.check(len(d.rest) == 0)
	if d.err != nil {
		return d.err
	}
	*r = got
	return nil
}

// decoder reads a record from its front. After the first mistake all reads return zero.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) check(ok bool) {
	if !ok && d.err == nil {
		d.err = errRecordValue
	}
}

func (d *decoder) take(n int) []byte {
	if d.err == nil && len(d.rest) < n {
		d.err = errRecordShort
	}
	if d.err != nil {
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte { return d.take(1)[0] }

func (d *decoder) upTo(limit byte) byte {
	v := d.byte()
	d.check(v <= limit)
	return v
}

func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	return number(d, v, n, v <= limit)
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	return number(d, v, n, true)
}

func (d *decoder) time() time.Time {
	if ms := d.varint(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// number takes what a varint reader found: n bytes, fewer than one if there was none.
func number[T int64 | uint64](d *decoder, v T, n int, ok bool) T {
	if d.err == nil && n <= 0 {
		d.err = errRecordShort
	}
	d.check(ok)
	if d.err != nil {
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text(limit uint64) string { return string(d.take(int(d.uvarint(limit)))) }

func (d *decoder) service() Service {
	return Services[min(d.upTo(byte(len(Services)-1)), byte(len(Services)-1))]
}

func (d *decoder) prefix() netip.Prefix {
	family := d.byte()
	bits := int(d.byte())
	d.check(family == 4 && bits <= 32 || family == 6 && bits <= 128)
	if d.err != nil {
		return netip.Prefix{}
	}
	var raw [16]byte
	copy(raw[:], d.take((bits+7)/8))
	addr := netip.AddrFrom16(raw)
	if family == 4 {
		addr = netip.AddrFrom4([4]byte(raw[:4]))
	}
	p := netip.PrefixFrom(addr, bits)
	d.check(p == p.Masked())
	return p
}
