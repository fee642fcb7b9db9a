package doctor

import (
	"fmt"
	"strings"
)

// software are programs that others wrote.
func (e *examiner) software() {
	for _, p := range []struct {
		name    string
		any     []string // one of them suffices
		pkg     string   // as Debian calls it
		purpose string
	}{
		{"FRR", []string{"bgpd"}, "frr", "routers of a lab with router: frr"},
		{"zebra", []string{"zebra"}, "frr", "FRR's routes in the kernel"},
		{"BIRD", []string{"bird"}, "bird2", "routers of a lab with router: bird"},
		{"unbound", []string{"unbound"}, "unbound", "resolvers of a lab with resolver: unbound"},
		{"dig", []string{"dig", "kdig"}, "dnsutils", "lab dig"},
		{"kdig", []string{"kdig"}, "knot-dnsutils", "the same over TLS, and with client subnets"},
		{"curl", []string{"curl"}, "curl", "lab curl"},
		{"tcpdump", []string{"tcpdump"}, "tcpdump", "reading what lab capture writes"},
		{"iproute2", []string{"ip"}, "iproute2", "looking at the netns runner's interfaces by hand"},
	} {
		found := Program{}
		for _, name := range p.any {
			if found = e.f.Programs[name]; found.Path != "" {
				break
			}
		}
		if found.Path == "" {
			e.add(p.name, Missing, "not found", p.purpose, e.install(p.pkg))
			continue
		}
		e.add(p.name, OK, strings.TrimSpace(found.Path+" "+found.Version), p.purpose, "")
	}
	e.containers()
}

func (e *examiner) containers() {
	const purpose = "the containerlab runner"
	switch docker := e.f.Programs["docker"]; {
	case docker.Path == "":
		e.add("docker", Missing, "not found", purpose, e.install("docker.io"))
	case strings.Contains(e.f.Docker, "permission denied"):
		e.add("docker", Missing, "its engine refuses "+e.f.User, purpose, e.root("usermod -aG docker "+e.f.User)+" && newgrp docker")
	case e.f.Docker != "":
		e.add("docker", Missing, "its engine does not answer: "+e.f.Docker, purpose, e.root("systemctl start docker"))
	default:
		e.add("docker", OK, strings.TrimSpace(docker.Path+" "+docker.Version), purpose, "")
	}
	if !e.f.Root {
		e.add("root", Missing, "this is "+e.f.User, "the containerlab runner reaches into the containers' networks", "sudo catchment lab up quickstart --runner containerlab")
	}
	e.impairments()
	if clab := e.f.Programs["containerlab"]; clab.Path != "" {
		e.add("containerlab", OK, strings.TrimSpace(clab.Path+" "+clab.Version), purpose, "")
		return
	}
	e.add("containerlab", Missing, "not found", purpose, `bash -c "$(curl -sL https://get.containerlab.dev)"`)
}

// impairments are what the containerlab runner makes them with; the other runners need nothing for them.
func (e *examiner) impairments() {
	const delays, drops = "delays of the containerlab runner's links", "partitions and losses of the containerlab runner"
	switch {
	case e.f.Netem == "":
		e.add("netem", OK, "tried", delays, "")
	case e.f.Programs["tc"].Path == "":
		e.add("netem", Limited, e.f.Netem, delays, e.install("iproute2"))
	default:
		e.add("netem", Limited, "the kernel refuses it ("+e.f.Netem+")", delays, e.module("sch_netem"))
	}
	if nft := e.f.Programs["nft"]; nft.Path != "" {
		e.add("nft", OK, strings.TrimSpace(nft.Path+" "+nft.Version), drops, "")
		return
	}
	e.add("nft", Limited, "not found", drops, e.install("nftables"))
}

// install is the command that brings a package, called by Debian's name of it.
func (e *examiner) install(pkg string) string {
	elsewhere := map[string]map[string]string{
		"dnf": {"bird2": "bird", "dnsutils": "bind-utils", "knot-dnsutils": "knot-utils", "iproute2": "iproute-tc", "docker.io": "moby-engine"},
		"apk": {"bird2": "bird", "dnsutils": "bind-tools", "knot-dnsutils": "knot-utils", "docker.io": "docker"},
	}
	if other, ok := elsewhere[e.f.Installer][pkg]; ok {
		pkg = other
	}
	switch e.f.Installer {
	case "dnf":
		return e.root("dnf install -y " + pkg)
	case "apk":
		return e.root("apk add " + pkg)
	}
	return e.root("apt-get install -y " + pkg)
}

// ports are those that a node outside a lab listens on.
func (e *examiner) ports() {
	for _, p := range []struct {
		number  int
		purpose string
	}{{53, "dnsd outside labs"}, {80, "popd outside labs"}, {179, "bgpd outside labs"}} {
		name := fmt.Sprintf("port %d", p.number)
		why, tried := e.f.Ports[p.number]
		switch {
		case !tried:
		case why == "":
			e.add(name, OK, "free", p.purpose, "")
		case strings.Contains(why, "permission denied"):
			e.add(name, Limited, "needs root", p.purpose, e.root("sysctl -w net.ipv4.ip_unprivileged_port_start=53"))
		default:
			e.add(name, Limited, why, p.purpose, e.root(fmt.Sprintf("ss -ltnp 'sport = :%d'", p.number)))
		}
	}
}

func (e *examiner) limits() {
	amount := func(name string, got, want uint64, shown, purpose, fix string) {
		state := OK
		if got < want {
			state = Limited
		}
		e.add(name, state, shown, purpose, fix)
	}
	amount("open files", e.f.Files, wantFiles, fmt.Sprint(e.f.Files), "large labs", e.root("prlimit --pid $$ --nofile=65536:65536"))
	amount("processes", e.f.Processes, wantProcesses, count(e.f.Processes), "large labs", e.root("prlimit --pid $$ --nproc=4096:4096"))
	state := OK
	switch {
	case e.f.Memory < leastMemory:
		state = Missing
	case e.f.Memory < wantMemory:
		state = Limited
	}
	e.add("memory", state, fmt.Sprintf("%d MiB available", e.f.Memory>>20), "about 40 MiB a node", "ps -eo pid,rss,comm --sort=-rss | head, and end what you can spare")
}

// count writes a limit; the greatest number stands for none.
func count(n uint64) string {
	if n == ^uint64(0) {
		return "unlimited"
	}
	return fmt.Sprint(n)
}

func (e *examiner) clock() {
	const folder = "/sys/devices/system/clocksource/clocksource0/"
	switch e.f.ClockSource {
	case "hpet", "acpi_pm", "jiffies", "refined-jiffies":
		e.add("clock source", Limited, e.f.ClockSource+": slow to read", "times in drills", e.root("sh -c 'echo tsc > "+folder+"current_clocksource'"))
	default:
		e.add("clock source", OK, e.f.ClockSource, "times in drills", "")
	}
	if !e.f.Synced {
		e.add("time", Limited, "the kernel's clock is not synchronized", "DNSSEC, TLS and logs of a fleet; labs do not need it", e.root("timedatectl set-ntp true"))
		return
	}
	e.add("time", OK, "synchronized", "DNSSEC, TLS and logs of a fleet", "")
}
