//go:build linux

package arrivals

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where the destination address lies in a packet that begins with its IP header (RFC 791 §3.1, RFC 8200 §3).
const (
	destination4 = 16
	destination6 = 24
)

func loopback() (int, error) {
	all, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("find the loopback interface: %w", err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Index, nil
		}
	}
	return 0, nil // no interface has the index 0
}

// filter passes packets to this host for one of the prefixes that do not come over the interface lo. Jumps of a classic
// BPF program reach 255 instructions, so nothing jumps to a common end.
func filter(prefixes []netip.Prefix, lo int) []bpf.Instruction {
	drop, pass := bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 1}
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
		drop,
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(lo), SkipTrue: 1},
		drop,
	}
	for _, v4 := range []bool{true, false} {
		var tests []bpf.Instruction
		for _, p := range prefixes {
			if p.Addr().Is4() == v4 {
				tests = append(append(tests, inside(p)...), pass)
			}
		}
		tests = append(tests, drop)
		protocol := uint32(unix.ETH_P_IPV6)
		if v4 {
			protocol = unix.ETH_P_IP
		}
		program = append(program,
			bpf.LoadExtension{Num: bpf.ExtProto},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocol, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(tests))})
		program = append(program, tests...)
	}
	return append(program, drop)
}

// inside goes on behind the next instruction unless the destination lies in the prefix.
func inside(p netip.Prefix) []bpf.Instruction {
	at := uint32(destination6)
	if p.Addr().Is4() {
		at = destination4
	}
	address := p.Addr().AsSlice()
	var words []bpf.Instruction
	rest := p.Bits()
	for i := 0; i < len(address) && rest > 0; i, rest = i+4, rest-32 {
		mask := ^uint32(0) << max(0, 32-rest)
		words = append(words,
			bpf.LoadAbsolute{Off: at + uint32(i), Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(address[i:]) & mask})
	}
	for i := 2; i < len(words); i += 3 { // a word that differs leaves behind the instruction after the last word
		j := words[i].(bpf.JumpIf)
		j.SkipFalse = uint8(len(words) - i)
		words[i] = j
	}
	return words
}
