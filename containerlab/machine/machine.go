// Package machine is what runs first in a container of a rendered lab: it gives the machine its addresses and starts what
// plays it.
//
//	containerlab ── creates the container ── plugs eth1, eth2, … ──►  addresses  ──►  node · router · edge
//
// Cables come after the container has started, and come anew when the container at the other end is replaced, so it
// keeps watching for them.
package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// File is what a machine is told of itself, as JSON.
type File struct {
	Name       string       `json:"name"`
	Own        []netip.Addr `json:"own,omitempty"` // on the loopback interface
	Interfaces []Interface  `json:"interfaces,omitempty"`
	Run        [][]string   `json:"run"` // arguments of this binary; the machine lives while all of them do
}

// Interface is one end of a cable.
type Interface struct {
	Name  string         `json:"name"`
	Addrs []netip.Prefix `json:"addrs"`
}

// Read loads a machine's file.
func Read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read machine: %w", err)
	}
	var f File
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read machine %q: %w", path, err)
	}
	if len(f.Run) == 0 {
		return nil, fmt.Errorf("read machine %q: nothing to run", path)
	}
	return &f, nil
}

// Options configures a Machine. All but Logger are required.
type Options struct {
	File           *File
	Binary         string    // catchment's
	Stdout, Stderr io.Writer // of what it runs
	Logger         *slog.Logger
}

// Run plays the machine until ctx is done or one of its processes has ended, which is an error. Processes get SIGTERM
// first, and SIGKILL after a while.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	defer parts.Wait()
	plugged := make(chan struct{})
	if len(o.File.Own)+len(o.File.Interfaces) == 0 { // the network is another container's, who looks after it
		close(plugged)
	} else {
		if err := o.File.loopback(); err != nil {
			return err
		}
		parts.Go(func() {
			if err := o.watch(ctx, plugged); err != nil {
				cancel(err)
			}
		})
	}
	select {
	case <-plugged:
	case <-ctx.Done():
		return cause(ctx)
	}
	for _, argv := range o.File.Run {
		parts.Go(func() {
			err := o.run(ctx, argv)
			cancel(fmt.Errorf("%s of machine %q has ended: %w", argv[0], o.File.Name, err))
		})
	}
	<-ctx.Done()
	parts.Wait()
	return cause(ctx)
}

// cause is why the machine ends; nil when it was told to.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stopWithin is how long a process may take to end in order. Docker gives a container 10 s.
const stopWithin = 5 * time.Second

func (o *Options) run(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, o.Binary, argv...)
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return err
	}
	return errors.New("it says that it is done")
}

// loopback puts the machine's own addresses on lo, and takes the default route away by which the container would leave
// the lab.
func (f *File) loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback interface: %w", err)
	}
	for _, a := range f.Own {
		if err := addAddr(lo, netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Gw == nil || r.Dst != nil && !r.Dst.IP.IsUnspecified() {
				continue
			}
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove the default route by %v: %w", r.Gw, err)
			}
		}
	}
	return nil
}

// watch gives each cable its addresses as it comes, and closes plugged when all are there.
func (o *Options) watch(ctx context.Context, plugged chan<- struct{}) error {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	waiting := map[string]Interface{}
	for _, i := range o.File.Interfaces {
		waiting[i.Name] = i
	}
	known := map[string]int{} // index of each interface that has its addresses
	done := false
	for {
		if len(known) == len(waiting) && !done {
			close(plugged)
			done = true
		}
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-updates:
			if !ok {
				return errors.New("watch interfaces: the kernel ended it")
			}
			at := u.Attrs()
			i, ours := waiting[at.Name]
			switch {
			case !ours:
			case u.Header.Type == unix.RTM_DELLINK:
				if known[at.Name] == at.Index {
					delete(known, at.Name)
				}
			case known[at.Name] != at.Index || at.Flags&net.FlagUp == 0 && !done:
				if err := plug(u.Link, i); err != nil {
					o.Logger.Warn("interface not set up", "interface", i.Name, "error", err)
					continue
				}
				known[at.Name] = at.Index
			}
		}
	}
}

// plug gives an interface its addresses.
func plug(l netlink.Link, i Interface) error {
	for _, p := range i.Addrs {
		if err := addAddr(l, p); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring %q up: %w", i.Name, err)
	}
	return nil
}

// addAddr adds an address without waiting for duplicate detection: the plan has none.
func addAddr(l netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(l, a); err != nil {
		return fmt.Errorf("give %q the address %v: %w", l.Attrs().Name, p, err)
	}
	return nil
}
