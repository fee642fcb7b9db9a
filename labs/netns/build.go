//go:build linux

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// machine is one machine of the plan with its namespace.
type machine struct {
	*layout.Machine
	ns        *namespace
	collector netip.Addr // the runner's end of a cable to hear the router by; the zero Addr where there is none
}

// mtu of every link: what the Internet carries.
const mtu = 1500

// build makes the namespaces and cables of the plan. What it has made is in l even when it fails.
func (l *Lab) build() error {
	if err := setSysctls(); err != nil {
		return err
	}
	runner, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer runner.Close()
	for _, m := range l.plan.Machines {
		ns, err := newNamespace(l.home)
		if err != nil {
			return err
		}
		l.machines[m.Name] = &machine{Machine: m, ns: ns}
		if err := ns.do(setSysctls); err != nil {
			return fmt.Errorf("machine %q: %w", m.Name, err)
		}
	}
	for _, w := range l.plan.Wires {
		made, err := l.makeWire(runner, w)
		if err != nil {
			return err
		}
		l.wires = append(l.wires, made)
	}
	if err := l.makeCollectorCables(runner); err != nil {
		return err
	}
	for _, m := range l.machines {
		if err := m.configure(); err != nil {
			return fmt.Errorf("machine %q: %w", m.Name, err)
		}
	}
	return nil
}

// mac is the address of one end of a wire: locally administered, and the same in every run.
func mac(i *layout.Interface) net.HardwareAddr {
	end := byte(0)
	if i == i.Wire.B {
		end = 1
	}
	return net.HardwareAddr{0x02, 0xca, 0, byte(i.Wire.Index >> 8), byte(i.Wire.Index), end}
}

// makeWire makes both cables of a wire and opens the runner's ends.
func (l *Lab) makeWire(runner *netlink.Handle, plan *layout.Wire) (*wire, error) {
	w := &wire{plan: plan}
	w.rules.Store(l.rulesOf(plan))
	for n, i := range []*layout.Interface{plan.A, plan.B} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = fmt.Sprintf("w%d%c", plan.Index, 'a'+n), mtu
		cable := &netlink.Veth{
			LinkAttrs: attrs, PeerName: i.Name, PeerHardwareAddr: mac(i), PeerNamespace: netlink.NsFd(l.machines[i.Machine.Name].ns.file.Fd()),
		}
		if err := runner.LinkAdd(cable); err != nil {
			return nil, fmt.Errorf("make cable of %q: %w", plan.Link.Name(), err)
		}
		if err := runner.LinkSetUp(cable); err != nil {
			return nil, fmt.Errorf("make cable of %q: %w", plan.Link.Name(), err)
		}
		made, err := runner.LinkByName(attrs.Name)
		if err != nil {
			return nil, fmt.Errorf("make cable of %q: %w", plan.Link.Name(), err)
		}
		if w.ports[n], err = openPort(attrs.Name, made.Attrs().Index); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// configure gives a machine its addresses, brings its interfaces up and tells it the hardware addresses of the other
// ends, which a cable never changes.
func (m *machine) configure() error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(m.ns.file.Fd()))
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return err
	}
	for _, a := range m.Own {
		if err := addAddr(h, lo, netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	for _, i := range m.Interfaces {
		link, err := h.LinkByName(i.Name)
		if err != nil {
			return err
		}
		for _, a := range i.Addrs() {
			if err := addAddr(h, link, a); err != nil {
				return err
			}
		}
		if err := errors.Join(h.LinkSetMTU(link, mtu), h.LinkSetUp(link)); err != nil {
			return err
		}
		for _, a := range i.Peer.Addrs() {
			if err := h.NeighSet(&netlink.Neigh{
				LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.Addr().AsSlice(), HardwareAddr: mac(i.Peer),
			}); err != nil {
				return fmt.Errorf("set neighbour %s: %w", a.Addr(), err)
			}
		}
	}
	return nil
}

func addAddr(h *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = 0x02 // IFA_F_NODAD: it is unique, and usable at once
	}
	if err := h.AddrAdd(link, a); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("add address %s to %s: %w", p, link.Attrs().Name, err)
	}
	return nil
}

// setCarrier gives both ends of a link their carrier, or takes it.
func (l *Lab) setCarrier(link *topology.Link, up bool) error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(l.home.Fd()))
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	var errs []error
	for _, w := range l.wiresOf(link) {
		for _, p := range w.ports {
			cable, err := h.LinkByName(p.name)
			if err == nil && up {
				err = h.LinkSetUp(cable)
			} else if err == nil {
				err = h.LinkSetDown(cable)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("carrier of %q: %w", link.Name(), err))
			}
		}
	}
	return errors.Join(errs...)
}
