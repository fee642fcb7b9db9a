//go:build linux

package netns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/labs/layout"
)

// startGuests starts what Options.Guests wants on the machine of a POP's node.
func (l *Lab) startGuests(m *machine) error {
	if l.o.Guests == nil {
		return nil
	}
	dir, err := l.nodes.Folder(m.Name)
	if err != nil {
		return err
	}
	guests, err := l.o.Guests(m.Machine, dir)
	if err != nil {
		return err
	}
	for i := range guests {
		guests[i].Within = m.ns.do
	}
	return l.nodes.Start(m.Name, guests)
}

// Inside opens sockets on a machine; outgoing connections of a network's come from its clients' addresses.
func (l *Lab) Inside(name string) (underlay.Net, error) {
	m := l.machines[name]
	if m == nil {
		return nil, l.noMachine(name)
	}
	return &within{ns: m.ns, local: m.Clients}, nil
}

// Plan is the layout of the machines.
func (l *Lab) Plan() *layout.Plan { return l.plan }

// Watch calls fn for every frame that either end of a link sends and that want takes, with the time at which it left that
// end, until ctx is done. Calls of fn do not overlap. Both must not block, and want must not keep the frame.
func (l *Lab) Watch(ctx context.Context, name string, want func(frame []byte) bool, fn func(at time.Time, frame []byte)) error {
	link, err := layout.FindLink(l.topo, name)
	if err != nil {
		return err
	}
	one := &tap{packets: make(chan captured, maxCaptured), want: want}
	for _, w := range l.wiresOf(link) {
		w.taps.add(one)
		defer w.taps.remove(one)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-one.packets:
			fn(p.at, p.data)
		}
	}
}

// Routes reads a machine's kernel: call the function that it returns for whether a prefix has a route there. The caller
// closes it.
func (l *Lab) Routes(name string) (has func(netip.Prefix) (bool, error), done func(), err error) {
	m := l.machines[name]
	if m == nil {
		return nil, nil, l.noMachine(name)
	}
	h, err := netlink.NewHandleAt(vnetns.NsHandle(m.ns.file.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("open netlink: %w", err)
	}
	return func(p netip.Prefix) (bool, error) {
		family := netlink.FAMILY_V6
		if p.Addr().Is4() {
			family = netlink.FAMILY_V4
		}
		all, err := h.RouteList(nil, family)
		if err != nil {
			return false, fmt.Errorf("list routes of %q: %w", name, err)
		}
		return slices.ContainsFunc(all, func(r netlink.Route) bool { return r.Dst != nil && r.Dst.String() == p.String() }), nil
	}, h.Close, nil
}
