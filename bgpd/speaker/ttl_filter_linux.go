package speaker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// gobgp sets the least TTL on a connection only after it has been accepted:
//
//	far attacker                           us
//	  SYN, TTL 64        ───────────────►  the kernel answers: the listener asks for no TTL
//	  ACK, OPEN, KEEPALIVE ─────────────►  in the receive buffer before gobgp has called accept
//	                                       gobgp sets the least TTL 255, reads the buffer: established
//
// So the listener gets a socket filter (SO_ATTACH_FILTER, inherited by what it accepts) that drops what a neighbour with
// GTSM sends with a lower TTL, from the first SYN on. gobgp hands no listener out; we find it among our descriptors.

// guardListeners makes the listeners drop what these neighbours send with a TTL below 255.
func guardListeners(listen []netip.AddrPort, neighbors []Neighbor) error {
	if len(listen) == 0 {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("find the listeners: %w", err)
	}
	found := 0
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		addr, ok := listensAt(fd)
		if !ok || !slices.Contains(listen, addr) {
			continue
		}
		if err := attach(fd, ttlFilter(addr.Addr().Is4(), neighbors)); err != nil {
			return fmt.Errorf("guard listener %q against low TTLs: %w", addr, err)
		}
		found++
	}
	if found < len(listen) {
		return errors.New("guard listeners against low TTLs: they are not among our descriptors")
	}
	return nil
}

// listensAt returns the address of a descriptor that is a listening TCP socket.
func listensAt(fd int) (netip.AddrPort, bool) {
	if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || v != 1 {
		return netip.AddrPort{}, false
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, false
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), true
	}
	return netip.AddrPort{}, false
}

func attach(fd int, program []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// The parts of a filter (linux/filter.h). netOffset makes an offset count from the network header.
const (
	loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	loadByte = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	jumpIfEq = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	ret      = unix.BPF_RET | unix.BPF_K

	netOffset = 0xfff00000 // SKF_NET_OFF
	keep      = 0xffffffff
)

// ttlFilter keeps what has TTL 255 and what comes from no neighbour with GTSM. The offsets are those of the IP headers
// (RFC 791 §3.1, RFC 8200 §3).
func ttlFilter(v4 bool, neighbors []Neighbor) []unix.SockFilter {
	source, ttl := uint32(netOffset+8), uint32(netOffset+7)
	if v4 {
		source, ttl = netOffset+12, netOffset+8
	}
	program := []unix.SockFilter{{Code: loadByte, K: ttl}, {Code: jumpIfEq, K: maxTTL, Jf: 1}, {Code: ret, K: keep}}
	for _, n := range neighbors {
		if !n.TTLSecurity || n.Address.Is4() != v4 {
			continue
		}
		addr := n.Address.AsSlice()
		for i := 0; i < len(addr); i += 4 { // a word that differs leads behind the `drop` below
			left := uint8((len(addr)-i)/4-1)*2 + 1
			program = append(program,
				unix.SockFilter{Code: loadWord, K: source + uint32(i)},
				unix.SockFilter{Code: jumpIfEq, K: binary.BigEndian.Uint32(addr[i:]), Jf: left})
		}
		program = append(program, unix.SockFilter{Code: ret})
	}
	return append(program, unix.SockFilter{Code: ret, K: keep})
}
