package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// A block is a /22 of 127.64.0.0/10 that one lab owns for its life: .0.1 is the runner, routers and nodes follow.
//
//	127.64.0.0/10 ─┬─ block 0     127.64.0.0/22
//	               ├─ block 1     127.64.4.0/22
//	               └─ block 4095  127.127.252.0/22
//
// The claim is an abstract unix socket named after the block: it needs no file and no rights, is shared by all users of
// the host, and ends with the process however that ends.
type block struct {
	number int
	claim  net.Listener
}

const (
	blocks       = 4096
	blockHosts   = 1022 // addresses 1 to 1022 of a /22
	blockBits    = 22
	firstPort    = 21000 // of the access ports on 127.0.0.1
	portsInBlock = 100   // two for each client: HTTP and DNS
	portBlocks   = 300   // blocks beyond share the port ranges, and fall back to free ports on a clash
)

var errNoBlock = errors.New("all 4096 address blocks of 127.64.0.0/10 are in use by labs of this host; end one with `catchment lab down`")

// claimBlock takes the first block that no other lab of this host holds.
func claimBlock() (*block, error) {
	for i := range blocks {
		l, err := net.Listen("unix", fmt.Sprintf("@catchment/block/%d", i)) //nolint:noctx // a unix socket listens at once
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("claim address block %d: %w", i, err)
		}
		return &block{number: i, claim: l}, nil
	}
	return nil, errNoBlock
}

// addr is host n of the block, 1 to 1022.
func (b *block) addr(n int) netip.Addr {
	v := uint32(127)<<24 | uint32(64)<<16 | uint32(b.number)<<(32-blockBits) | uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// port is access port n of the block: the same one each time this block is the lab's, so that a person's shell history
// stays good.
func (b *block) port(n int) int {
	if n >= portsInBlock {
		return 0
	}
	return firstPort + b.number%portBlocks*portsInBlock + n
}

func (b *block) release() error { return b.claim.Close() }
