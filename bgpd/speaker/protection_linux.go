package speaker

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tryProtection sets on a socket of its own what gobgp will set for this neighbour. gobgp tells of an option that the
// kernel refuses in a log line at most, and dials for ever.
func tryProtection(n Neighbor) error {
	if n.Password == "" && !n.TTLSecurity {
		return nil
	}
	domain, level, ttl, minTTL := unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
	if n.Address.Is4() {
		domain, level, ttl, minTTL = unix.AF_INET, unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("neighbor %q: open a socket to try its protection: %w", n.Name, err)
	}
	defer unix.Close(fd)
	var errs []error
	if n.Password != "" {
		if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, md5Option(n)); err != nil {
			errs = append(errs, fmt.Errorf("neighbor %q: this kernel cannot set its password (TCP MD5): %w", n.Name, err))
		}
	}
	if n.TTLSecurity {
		if err := errors.Join(unix.SetsockoptInt(fd, level, ttl, maxTTL), unix.SetsockoptInt(fd, level, minTTL, maxTTL)); err != nil {
			errs = append(errs, fmt.Errorf("neighbor %q: this kernel cannot set its TTL security: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// maxTTL is the TTL of what comes from the same link (RFC 5082 §3).
const maxTTL = 255

// md5Option writes struct tcp_md5sig: after the family of the address come its port and, in IPv6, a flow label.
func md5Option(n Neighbor) *unix.TCPMD5Sig {
	o := &unix.TCPMD5Sig{Keylen: uint16(len(n.Password))}
	copy(o.Key[:], n.Password)
	if o.Addr.Family = unix.AF_INET6; n.Address.Is4() {
		o.Addr.Family = unix.AF_INET
		copy(o.Addr.Data[2:], n.Address.AsSlice())
		return o
	}
	copy(o.Addr.Data[6:], n.Address.AsSlice())
	return o
}
