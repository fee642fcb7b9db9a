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
// So the listener asks for it already, and what it accepts inherits that: where all neighbours of a family have GTSM, by its
// least TTL; where only some have, by a socket filter (SO_ATTACH_FILTER), for which newer kernels want CAP_NET_ADMIN. gobgp
// hands no listener out; we find it among our descriptors.

// guardListeners makes the listeners drop, from the first SYN on, what neighbours with GTSM send with a TTL below 255.
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
		if err := guard(fd, addr.Addr().Is4(), neighbors); err != nil {
			return fmt.Errorf("guard listener %q against low TTLs: %w", addr, err)
		}
		found++
	}
	if found < len(listen) {
		return errors.New("guard listeners against low TTLs: they are not among our descriptors")
	}
	return nil
}

// guard protects one listener.
func guard(fd int, v4 bool, neighbors []Neighbor) error {
	near, far := 0, 0
	for _, n := range neighbors {
		switch {
		case n.Address.Is4() != v4:
		case n.TTLSecurity:
			near++
		default:
			far++
		}
	}
	level, name, least := unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, 0
	if v4 {
		level, name = unix.IPPROTO_IP, unix.IP_MINTTL
	}
	if near > 0 && far == 0 {
		least = maxTTL
	}
	if near > 0 && far > 0 {
		if err := attach(fd, ttlFilter(v4, neighbors)); errors.Is(err, unix.EPERM) {
			return fmt.Errorf("some neighbours have TTL security and others have not: this kernel wants CAP_NET_ADMIN to tell them apart (give it, or all of them the same): %w", err)
		} else if err != nil {
			return err
		}
	} else if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return unix.SetsockoptInt(fd, level, name, least)
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
