//go:build linux

package netns

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/catchment-net/catchment/internal/underlay"
)

// Inside opens sockets in the network namespace of a process, which needs root there; outgoing connections come from the
// local addresses. The namespace lives until the close function is called.
func Inside(pid int, local []netip.Addr) (n underlay.Net, done func() error, err error) {
	home, err := thisNamespace()
	if err != nil {
		return nil, nil, fmt.Errorf("open own network namespace: %w", err)
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		home.Close()
		return nil, nil, fmt.Errorf("open the network namespace of process %d: %w", pid, err)
	}
	ns := &namespace{file: file, home: home}
	return &within{ns: ns, local: local}, func() error {
		home.Close()
		return ns.close()
	}, nil
}
