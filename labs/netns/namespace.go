//go:build linux

package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace that lives as long as its descriptor is open or a process is in it.
type namespace struct {
	file *os.File
	home *os.File // the runner's own, to come back to
}

// thisNamespace opens the network namespace of the calling thread.
func thisNamespace() (*os.File, error) {
	return os.Open("/proc/thread-self/ns/net")
}

// newNamespace makes an empty network namespace.
func newNamespace(home *os.File) (*namespace, error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	file, err := thisNamespace()
	if back := leave(home); back != nil {
		return nil, back
	}
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return &namespace{file: file, home: home}, nil
}

// leave brings the locked thread back and unlocks it. A thread that cannot come back stays locked: it ends with its
// goroutine, and nobody else is run in the wrong place.
func leave(home *os.File) error {
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("leave network namespace: %w", err)
	}
	runtime.UnlockOSThread()
	return nil
}

// do calls fn on a thread inside the namespace. Sockets that fn opens, and processes that it starts, belong there.
func (n *namespace) do(fn func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	err := fn()
	return errors.Join(err, leave(n.home))
}

func (n *namespace) close() error { return n.file.Close() }

// sysctls are what a machine of the lab needs: it forwards, weighs flows by their ports, takes asymmetric paths, uses its
// addresses at once, keeps them when a link is down, and leaves the low ports to everybody.
var sysctls = [][2]string{ //nolint:gochecknoglobals // a constant table
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv6/conf/all/disable_ipv6", "0"},
	{"net/ipv6/conf/default/disable_ipv6", "0"},
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/ipv6/conf/default/forwarding", "1"},
	{"net/ipv6/conf/default/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/ipv6/conf/default/router_solicitations", "0"},
	{"net/ipv6/conf/all/keep_addr_on_down", "1"},
	{"net/ipv6/conf/default/keep_addr_on_down", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/ignore_routes_with_linkdown", "1"},
	{"net/ipv4/conf/default/ignore_routes_with_linkdown", "1"},
	{"net/ipv6/conf/all/ignore_routes_with_linkdown", "1"},
	{"net/ipv6/conf/default/ignore_routes_with_linkdown", "1"},
	{"net/ipv4/fib_multipath_hash_policy", "1"},
	{"net/ipv6/fib_multipath_hash_policy", "1"},
	{"net/ipv4/icmp_ratelimit", "0"}, // every dead end answers every packet, else a connection waits in silence
	{"net/ipv6/icmp/ratelimit", "0"},
	{"net/ipv4/ip_unprivileged_port_start", "0"},
	{"net/ipv4/ping_group_range", "0 2147483647"},
}

// setSysctls prepares the namespace of the calling thread, before it has any interface.
func setSysctls() error {
	var errs []error
	for _, s := range sysctls {
		err := os.WriteFile(filepath.Join("/proc/sys", s[0]), []byte(s[1]), 0o644)
		if err != nil && s[0] != "net/ipv4/ping_group_range" { // in a user namespace groups without a mapping are refused
			errs = append(errs, fmt.Errorf("set sysctl: %w", err))
		}
	}
	return errors.Join(errs...)
}
