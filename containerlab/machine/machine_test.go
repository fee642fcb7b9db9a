package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/catchment-net/catchment/internal/testns"
)

// live is a machine whose cable comes late, goes and comes anew.
func live() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	f := &File{
		Name: "m", Own: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")},
		Interfaces: []Interface{{Name: "eth1", Addrs: []netip.Prefix{netip.MustParsePrefix("169.254.0.1/31"), netip.MustParsePrefix("fd00::1/127")}}},
		Run:        [][]string{{"600"}},
	}
	mgmt := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "bridge"}
	if err := errors.Join(netlink.LinkAdd(mgmt), netlink.LinkSetUp(mgmt), addAddr(mgmt, netip.MustParsePrefix("172.28.0.2/24"))); err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: mgmt.Index, Gw: netip.MustParseAddr("172.28.0.1").AsSlice()}); err != nil {
		return err
	}
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Options{File: f, Binary: "/bin/sleep", Stdout: &out, Stderr: &out}) }()
	for range 2 {
		cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "far"}
		if err := netlink.LinkAdd(cable); err != nil {
			return err
		}
		for has("eth1") != "169.254.0.1/31 fd00::1/127" {
			if ctx.Err() != nil {
				return errors.New("eth1 has " + has("eth1"))
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := netlink.LinkDel(cable); err != nil {
			return err
		}
	}
	if got := has("lo"); got != "127.0.0.1/8 192.0.2.53/32 2001:db8::53/128 ::1/128" {
		return errors.New("lo has " + got)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Gw != nil {
			return errors.New("a route leads out of the lab: " + r.String())
		}
	}
	cancel()
	return <-ended
}

// has lists an interface's addresses, less link-local ones.
func has(name string) string {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := netlink.AddrList(l, family)
		if err != nil {
			return err.Error()
		}
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() || a.IP.To4() != nil {
				all = append(all, a.IPNet.String())
			}
		}
	}
	return strings.Join(all, " ")
}

// A machine gives its cables their addresses whenever they come, and keeps its traffic in the lab.
func TestMachineWaitsForItsCables(t *testing.T) {
	if !testns.Inside(t) {
		return
	}
	if err := live(); err != nil {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON": "x", "nothing to run": `{"name": "a"}`,
	} {
		file := filepath.Join(t.TempDir(), "machine.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"name": "a", "interfaces": [{"name": "eth1", "addrs": ["169.254.0.1/31"]}], "run": [["node", "a"]]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m File
		if json.Unmarshal(text, &m) != nil {
			return
		}
		if _, err := json.Marshal(m); err != nil {
			t.Error(err)
		}
	})
}
