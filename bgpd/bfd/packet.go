package bfd

import (
	"encoding/binary"
	"time"
)

// Packet is a BFD Control packet (RFC 5880 §4.1). Its authentication section is not kept.
type Packet struct {
	Diag  Diag
	State State

	Poll, Final, ControlPlaneIndependent, Auth, Demand bool

	Multiplier                uint8  // detection time, in intervals
	MyDiscr, YourDiscr        uint32 // YourDiscr is 0 while unknown
	DesiredMinTx, RequiredMin time.Duration
	RequiredMinEcho           time.Duration // 0: no echo is wanted
}

// packetSize is that of a packet without authentication.
const packetSize = 24

const (
	version      = 1
	minAuthSize  = packetSize + 2
	flagMulti    = 0x01
	flagDemand   = 0x02
	flagAuth     = 0x04
	flagControl  = 0x08
	flagFinal    = 0x10
	flagPoll     = 0x20
	stateShift   = 6
	diagMask     = 0x1f
	versionShift = 5
)

// Discard is why a packet was not taken. The names are the labels of a metric.
type Discard string

// The reasons, in the order in which they are looked at (RFC 5880 §6.8.6), and first of all the TTL's (RFC 5881 §5).
const (
	Taken         Discard = ""
	Multihop      Discard = "multihop" // it was sent to the port of RFC 5883
	BadTTL        Discard = "ttl"
	BadVersion    Discard = "version"
	BadLength     Discard = "length"
	BadMultiplier Discard = "multiplier"
	Multipoint    Discard = "multipoint"
	BadMyDiscr    Discard = "my_discriminator"
	BadYourDiscr  Discard = "your_discriminator"
	BadState      Discard = "state"
	NoSession     Discard = "no_session"
	BadAuth       Discard = "authentication"
	SessionOff    Discard = "admin_down"
)

// discards are all reasons, for the metric.
func discards() []Discard {
	return []Discard{
		Multihop, BadTTL, BadVersion, BadLength, BadMultiplier, Multipoint, BadMyDiscr, BadYourDiscr, BadState, NoSession, BadAuth, SessionOff,
	}
}

// Parse reads the payload of a UDP packet as far as that can be judged without a session: the first six rules of RFC 5880
// §6.8.6, in their order, and the one about a discriminator that is missing. Whose packet it is the caller finds out.
func Parse(b []byte) (Packet, Discard) {
	if len(b) < packetSize {
		if len(b) > 0 && b[0]>>versionShift != version {
			return Packet{}, BadVersion
		}
		return Packet{}, BadLength
	}
	auth := b[1]&flagAuth != 0
	length, least := int(b[3]), packetSize
	if auth {
		least = minAuthSize
	}
	p := Packet{
		Diag: Diag(b[0] & diagMask), State: State(b[1] >> stateShift),
		Poll: b[1]&flagPoll != 0, Final: b[1]&flagFinal != 0, ControlPlaneIndependent: b[1]&flagControl != 0,
		Auth: auth, Demand: b[1]&flagDemand != 0, Multiplier: b[2],
		MyDiscr: binary.BigEndian.Uint32(b[4:]), YourDiscr: binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx: micros(b[12:]), RequiredMin: micros(b[16:]), RequiredMinEcho: micros(b[20:]),
	}
	switch {
	case b[0]>>versionShift != version:
		return p, BadVersion
	case length < least || length > len(b):
		return p, BadLength
	case p.Multiplier == 0:
		return p, BadMultiplier
	case b[1]&flagMulti != 0:
		return p, Multipoint
	case p.MyDiscr == 0:
		return p, BadMyDiscr
	case p.YourDiscr == 0 && p.State != Down && p.State != AdminDown:
		return p, BadState
	}
	return p, Taken
}

// Append writes a packet without authentication. Intervals are cut to whole microseconds and 32 bits.
func (p *Packet) Append(b []byte) []byte {
	flags := byte(p.State) << stateShift
	for _, f := range []struct {
		set bool
		bit byte
	}{{p.Poll, flagPoll}, {p.Final, flagFinal}, {p.ControlPlaneIndependent, flagControl}, {p.Demand, flagDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, version<<versionShift|byte(p.Diag)&diagMask, flags, p.Multiplier, packetSize)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscr)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscr)
	for _, d := range []time.Duration{p.DesiredMinTx, p.RequiredMin, p.RequiredMinEcho} {
		b = binary.BigEndian.AppendUint32(b, uint32(min(max(d, 0)/time.Microsecond, 1<<32-1)))
	}
	return b
}

func micros(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}
