//go:build linux

package netns

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A client may have more connections at once than it has ports, as long as they lead to different servers.
func TestAClientsPortsAreSharedByItsServers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	home, err := thisNamespace()
	if err != nil {
		t.Fatal(err)
	}
	ns, err := newNamespace(home)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.close()
	if err := ns.do(ready); err != nil {
		t.Fatal(err)
	}
	w := &within{ns: ns, local: []netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("::1")}}
	for _, hosts := range [][]string{{"127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"}, {"[::1]:0", "[::1]:0", "[::1]:0"}} {
		for _, host := range hosts {
			l, err := w.Listen(t.Context(), "tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for range 20 { // of the 32 ports that there are
				c, err := w.DialContext(t.Context(), "tcp", l.Addr().String())
				if err != nil {
					t.Fatalf("dial %s: %v", l.Addr(), err)
				}
				defer c.Close()
				if local := c.LocalAddr().(*net.TCPAddr).IP.String(); strings.Contains(host, ".") && local != "127.0.0.9" {
					t.Errorf("connected from %s, want 127.0.0.9", local)
				}
			}
		}
	}
}

// ready brings the loopback up and leaves it few ports.
func ready() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return errors.Join(unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r), os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40031"), 0o644))
}
