package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Limits below which a lab of some dozen nodes is in danger.
const (
	wantFiles     = 8192    // a runner holds a few for each link, client and node
	wantProcesses = 512     // one for each node, with its threads
	wantMemory    = 1 << 30 // bytes: about 40 MiB a node
	leastMemory   = 200 << 20
	allBlocks     = 4096
)

// Examine judges facts.
func Examine(f Facts) Report {
	e := &examiner{f: f}
	e.kernel()
	e.local()
	e.namespaces()
	e.software()
	e.ports()
	e.limits()
	e.clock()
	return Report{Runners: e.runners(), Findings: e.findings}
}

type examiner struct {
	f        Facts
	findings []Finding
}

func (e *examiner) add(name string, state State, found, purpose, fix string) {
	if state == OK {
		fix = ""
	}
	e.findings = append(e.findings, Finding{Name: name, State: state, Found: found, For: purpose, Fix: fix})
}

// state is that of a finding that was added.
func (e *examiner) state(name string) State {
	i := slices.IndexFunc(e.findings, func(f Finding) bool { return f.Name == name })
	if i < 0 {
		return Missing
	}
	return e.findings[i].State
}

// root is the command as a person of this host types it.
func (e *examiner) root(command string) string {
	if e.f.Root || command == "" {
		return command
	}
	return "sudo " + command
}

func (e *examiner) kernel() {
	if e.f.OS != "linux" {
		e.add("kernel", Missing, e.f.OS, "every runner needs Linux", "docker run --rm -it --privileged debian, with catchment inside")
		return
	}
	e.add("kernel", OK, "Linux "+e.f.Kernel, "every runner", "")
}

// local is what the local runner needs.
func (e *examiner) local() {
	const addresses = "addresses of the local runner's nodes"
	switch {
	case e.f.Loopback != "":
		e.add("loopback", Missing, "127.64.0.1: "+e.f.Loopback, addresses, e.root("ip link set lo up"))
	case e.f.Blocks >= allBlocks:
		e.add("loopback", Missing, "all blocks of 127.64.0.0/10 are in use", addresses, "catchment lab down")
	default:
		e.add("loopback", OK, fmt.Sprintf("127.64.0.0/10, %d of %d blocks in use", e.f.Blocks, allBlocks), addresses, "")
	}
	const sockets = "sockets and logs of labs that are up"
	if e.f.State != "" {
		e.add("state folder", Missing, e.f.State, sockets, "export XDG_RUNTIME_DIR=$(mktemp -d)")
		return
	}
	e.add("state folder", OK, e.f.StateRoot, sockets, "")
}

// namespaces judges whether a lab can be made of them.
func (e *examiner) namespaces() {
	const purpose = "the netns runner: machines, cables, links that delay and lose"
	how := "as root"
	if !e.f.Root {
		how = "in a user namespace"
	}
	if e.f.Namespaces != "" {
		found, fix := e.blocked()
		e.add("namespaces", Missing, found, purpose, fix)
		return
	}
	e.add("namespaces", OK, how, purpose, "")
}

// module is the command that loads a module; Ubuntu keeps the rarer ones in a package of their own.
func (e *examiner) module(name string) string {
	load := e.root("modprobe " + name)
	if e.f.Installer != "apt-get" {
		return load
	}
	return load + " || " + e.root("apt-get install -y linux-modules-extra-"+e.f.Kernel)
}

// blocked names what stands in the way of namespaces.
func (e *examiner) blocked() (found, fix string) {
	for _, s := range []struct{ name, bad, good string }{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"user.max_user_namespaces", "0", "15000"},
		{"user.max_net_namespaces", "0", "15000"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
	} {
		relevant := !e.f.Root || s.name == "user.max_net_namespaces"
		if value, ok := e.f.Sysctls[s.name]; ok && relevant && value == s.bad {
			return fmt.Sprintf("%s is %s", s.name, value), e.root("sysctl -w " + s.name + "=" + s.good)
		}
	}
	why := e.f.Namespaces
	if strings.Contains(why, "veth") && !strings.Contains(why, "not permitted") {
		return why, e.module("veth")
	}
	if e.f.Root {
		return "refused to root (" + why + "): a container without the right to", "docker run --privileged, for the container that this is"
	}
	return "refused (" + why + ")", "run catchment as root: sudo catchment lab up quickstart --runner netns"
}

// runners says what labs can be brought up.
func (e *examiner) runners() []Finding {
	worst := func(names ...string) State {
		for _, name := range names {
			if e.state(name) == Missing {
				return Missing
			}
		}
		return OK
	}
	local := Finding{Name: "local", State: worst("kernel", "loopback", "state folder"), Found: "processes and relays, no rights needed", For: "the default"}
	if local.State == OK && (e.state("open files") != OK || e.state("memory") != OK) {
		local.State = Limited
	}
	netns := Finding{Name: "netns", State: worst("kernel", "state folder", "namespaces"), Found: "the kernel's own forwarding", For: "--runner netns"}
	clab := Finding{Name: "containerlab", State: worst("docker", "containerlab"), Found: "containers", For: "--runner containerlab"}
	if !e.f.Root {
		clab.State, clab.Found = Missing, "containers, for root"
	}
	if clab.State == OK && (e.state("netem") != OK || e.state("nft") != OK) {
		clab.State, clab.Found = Limited, clab.Found+", without some impairments"
	}
	return []Finding{local, netns, clab}
}
