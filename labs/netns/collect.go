//go:build linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/catchment-net/catchment/labs/collector"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/topology"
)

// Routers that are FRR or BIRD tell their best paths by BGP, over a cable of their own, to a collector in the runner:
//
//	FRR mgmt0 169.254.255.253 ── dials ──► 169.254.255.252 m0 collector ──► router.Change, as from our own routers
//
// The cables' addresses are counted from the end of 169.254.0.0/16, those of the lab's wires from its beginning. No route
// leads over them, and nobody announces them.
const collectorInterface = "mgmt0"

// makeCollectorCables joins every router that is not ours to the runner.
func (l *Lab) makeCollectorCables(h *netlink.Handle) error {
	n := 0
	for _, plan := range l.plan.Machines {
		if plan.Software != topology.FRR && plan.Software != topology.BIRD {
			continue
		}
		m := l.machines[plan.Name]
		first := 1<<16 - 2*(n+2)
		if first < 2*len(l.plan.Wires) {
			return fmt.Errorf("lab %q has %d cables and %d routers; 169.254.0.0/16 has no addresses for that many", l.topo.Name, len(l.plan.Wires), n)
		}
		m.collector = netip.AddrFrom4([4]byte{169, 254, byte(first >> 8), byte(first)})
		if err := m.joinCollector(h, fmt.Sprintf("m%d", n)); err != nil {
			return fmt.Errorf("join %q to the collector: %w", m.Name, err)
		}
		n++
	}
	return nil
}

// joinCollector makes the cable between the runner and one machine.
func (m *machine) joinCollector(h *netlink.Handle, name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	cable := &netlink.Veth{LinkAttrs: attrs, PeerName: collectorInterface, PeerNamespace: netlink.NsFd(m.ns.file.Fd())}
	if err := h.LinkAdd(cable); err != nil {
		return err
	}
	if err := bringUp(h, name, netip.PrefixFrom(m.collector, 31)); err != nil {
		return err
	}
	far, err := netlink.NewHandleAt(vnetns.NsHandle(m.ns.file.Fd()))
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer far.Close()
	return bringUp(far, collectorInterface, netip.PrefixFrom(m.collector.Next(), 31))
}

func bringUp(h *netlink.Handle, name string, addr netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return errors.Join(addAddr(h, link, addr), h.LinkSetUp(link))
}

// routeHosts gives a machine the host routes that it needs beside BGP's.
func (m *machine) routeHosts() error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(m.ns.file.Fd()))
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	for _, host := range m.Hosts() {
		route := &netlink.Route{Dst: netlink.NewIPNet(host.Prefix.Addr().AsSlice()), Gw: host.Via.AsSlice()}
		if err := h.RouteReplace(route); err != nil {
			return fmt.Errorf("route %s of %q via %s: %w", host.Prefix, m.Name, host.Via, err)
		}
	}
	return nil
}

// collect listens for the routers that are not ours until ctx is done.
func (l *Lab) collect(ctx context.Context) error {
	o := collector.Options{Plan: l.plan, OnChange: l.changed, Logger: l.o.Logger}
	for _, plan := range l.plan.Machines {
		if m := l.machines[plan.Name]; m.collector.IsValid() {
			o.RouterID = m.collector
			o.Listen = append(o.Listen, netip.AddrPortFrom(m.collector, topology.PortBGP))
			o.Routers = append(o.Routers, collector.Router{Name: m.Name, ASN: m.ASN, Address: m.collector.Next(), Local: m.collector})
		}
	}
	c, err := collector.New(o)
	if err != nil {
		return err
	}
	if err := c.Listen(ctx); err != nil {
		return err
	}
	l.parts.Go(func() { l.ended("collector", c.Run(ctx)) })
	return nil
}

// changed notes a change of a router's best path.
func (l *Lab) changed(c router.Change) {
	if e := l.bests.Note(c); e != nil {
		l.ring.Add(*e)
	}
}
