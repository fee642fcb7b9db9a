package doctor

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/catchment-net/catchment/labs/netns"
)

// TestMain makes this binary the child that netns.Attempt starts, as catchment is.
func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{"lab", "try"}) {
		if err := netns.Try(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// healthy is a host on which all works for a user without rights.
func healthy() Facts {
	f := Facts{
		OS: "linux", Kernel: "6.1.0-18-amd64", User: "ann", Installer: "apt-get", StateRoot: "/run/user/1000/catchment",
		Sysctls:  map[string]string{"kernel.unprivileged_userns_clone": "1", "user.max_user_namespaces": "30000"},
		Programs: map[string]Program{},
		Ports:    map[int]string{53: "", 80: "", 179: ""},
		Files:    1 << 20, Processes: ^uint64(0), Memory: 8 << 30, ClockSource: "tsc", Synced: true,
	}
	for _, name := range []string{"bgpd", "zebra", "bird", "unbound", "dig", "kdig", "curl", "tcpdump", "ip", "tc", "nft", "docker", "containerlab"} {
		f.Programs[name] = Program{Path: "/usr/bin/" + name, Version: "1.0"}
	}
	return f
}

func find(t *testing.T, list []Finding, name string) Finding {
	t.Helper()
	i := slices.IndexFunc(list, func(f Finding) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("no finding %q", name)
	}
	return list[i]
}

func TestHealthyHostNeedsNothing(t *testing.T) {
	f := healthy()
	f.Root = true
	r := Examine(f)
	for _, f := range slices.Concat(r.Runners, r.Findings) {
		if f.State != OK || f.Fix != "" || f.Found == "" || f.For == "" {
			t.Errorf("got %+v, want ok, with what was found and what it is for", f)
		}
	}
}

func TestEachFaultHasItsStateAndFix(t *testing.T) {
	noNamespaces := func(f *Facts) { f.Namespaces = "operation not permitted" }
	for _, c := range []struct {
		name    string
		spoil   func(*Facts)
		finding string
		state   State
		found   string
		fix     string
	}{
		{"not Linux", func(f *Facts) { f.OS = "darwin" }, "kernel", Missing, "darwin", "docker run"},
		{"loopback down", func(f *Facts) { f.Loopback = "cannot assign requested address" }, "loopback", Missing, "cannot assign", "sudo ip link set lo up"},
		{"no block left", func(f *Facts) { f.Blocks = 4096 }, "loopback", Missing, "in use", "catchment lab down"},
		{"no state folder", func(f *Facts) { f.State = "/run/user/1000: permission denied" }, "state folder", Missing, "permission denied", "export XDG_RUNTIME_DIR=$(mktemp -d)"},
		{"Debian's old switch", func(f *Facts) { noNamespaces(f); f.Sysctls["kernel.unprivileged_userns_clone"] = "0" }, "namespaces", Missing, "kernel.unprivileged_userns_clone is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"hardened", func(f *Facts) { noNamespaces(f); f.Sysctls["user.max_user_namespaces"] = "0" }, "namespaces", Missing, "user.max_user_namespaces is 0", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"Ubuntu 24.04", func(f *Facts) {
			f.Namespaces = "make mounts private: permission denied"
			f.Sysctls["kernel.apparmor_restrict_unprivileged_userns"] = "1"
		}, "namespaces", Missing, "kernel.apparmor_restrict_unprivileged_userns is 1", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{"no known reason", noNamespaces, "namespaces", Missing, "operation not permitted", "sudo catchment lab up quickstart --runner netns"},
		{"root in a container", func(f *Facts) { noNamespaces(f); f.Root = true; f.Sysctls["user.max_user_namespaces"] = "0" }, "namespaces", Missing, "refused to root", "docker run --privileged"},
		{"no veth", func(f *Facts) { f.Namespaces = "make a cable (veth): operation not supported" }, "namespaces", Missing, "veth", "sudo modprobe veth || sudo apt-get install -y linux-modules-extra-6.1.0-18-amd64"},
		{"no netem", func(f *Facts) { f.Netem = "Error: Specified qdisc kind is unknown." }, "netem", Limited, "kind is unknown", "sudo modprobe sch_netem || sudo apt-get install -y linux-modules-extra-6.1.0-18-amd64"},
		{"no tc", func(f *Facts) { f.Netem = "could not be tried: no tc"; delete(f.Programs, "tc") }, "netem", Limited, "could not be tried", "sudo apt-get install -y iproute2"},
		{"no nft", func(f *Facts) { delete(f.Programs, "nft") }, "nft", Limited, "not found", "sudo apt-get install -y nftables"},
		{"no FRR", func(f *Facts) { delete(f.Programs, "bgpd") }, "FRR", Missing, "not found", "sudo apt-get install -y frr"},
		{"no dig on Fedora", func(f *Facts) { delete(f.Programs, "dig"); delete(f.Programs, "kdig"); f.Installer = "dnf" }, "dig", Missing, "not found", "sudo dnf install -y bind-utils"},
		{"no kdig on Alpine, as root", func(f *Facts) { delete(f.Programs, "kdig"); f.Installer, f.Root = "apk", true }, "kdig", Missing, "not found", "apk add knot-utils"},
		{"a user", func(*Facts) {}, "root", Missing, "this is ann", "sudo catchment lab up quickstart --runner containerlab"},
		{"no docker", func(f *Facts) { delete(f.Programs, "docker") }, "docker", Missing, "not found", "sudo apt-get install -y docker.io"},
		{"not in docker's group", func(f *Facts) { f.Docker = "permission denied" }, "docker", Missing, "refuses ann", "sudo usermod -aG docker ann && newgrp docker"},
		{"docker is stopped", func(f *Facts) { f.Docker = "Cannot connect to the Docker daemon" }, "docker", Missing, "does not answer", "sudo systemctl start docker"},
		{"no containerlab", func(f *Facts) { delete(f.Programs, "containerlab") }, "containerlab", Missing, "not found", "get.containerlab.dev"},
		{"low ports", func(f *Facts) { f.Ports[53] = "permission denied" }, "port 53", Limited, "needs root", "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=53"},
		{"a taken port", func(f *Facts) { f.Ports[80] = "address already in use" }, "port 80", Limited, "in use", "sudo ss -ltnp 'sport = :80'"},
		{"few files", func(f *Facts) { f.Files = 1024 }, "open files", Limited, "1024", "sudo prlimit --pid $$ --nofile=65536:65536"},
		{"few processes", func(f *Facts) { f.Processes = 100 }, "processes", Limited, "100", "prlimit --pid $$ --nproc"},
		{"little memory", func(f *Facts) { f.Memory = 500 << 20 }, "memory", Limited, "500 MiB", "ps -eo"},
		{"no memory", func(f *Facts) { f.Memory = 100 << 20 }, "memory", Missing, "100 MiB", "ps -eo"},
		{"slow clock", func(f *Facts) { f.ClockSource = "acpi_pm" }, "clock source", Limited, "acpi_pm", "current_clocksource"},
		{"wrong time", func(f *Facts) { f.Synced = false }, "time", Limited, "not synchronized", "sudo timedatectl set-ntp true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := healthy()
			c.spoil(&f)
			r := Examine(f)
			for _, f := range r.Findings {
				if f.State != OK && f.Fix == "" {
					t.Errorf("%+v has no fix", f)
				}
			}
			got := find(t, r.Findings, c.finding)
			if got.State != c.state || !strings.Contains(got.Found, c.found) || !strings.Contains(got.Fix, c.fix) {
				t.Errorf("got %+v, want %s, found %q, fix %q", got, c.state, c.found, c.fix)
			}
		})
	}
}

func TestRunners(t *testing.T) {
	for _, c := range []struct {
		name               string
		spoil              func(*Facts)
		local, netns, clab State
		can                bool
	}{
		{"all", func(*Facts) {}, OK, OK, OK, true},
		{"no namespaces", func(f *Facts) { f.Namespaces = "operation not permitted" }, OK, Missing, OK, true},
		{"no netem", func(f *Facts) { f.Netem = "unknown" }, OK, OK, Limited, true},
		{"few files", func(f *Facts) { f.Files = 1024 }, Limited, OK, OK, true},
		{"a user", func(f *Facts) { f.Root = false }, OK, OK, Missing, true},
		{"no containers", func(f *Facts) { f.Docker = "stopped" }, OK, OK, Missing, true},
		{"no loopback, no docker", func(f *Facts) { f.Loopback = "x"; f.Docker = "x" }, Missing, OK, Missing, true},
		{"nothing", func(f *Facts) { f.State = "read-only file system"; f.Docker = "x" }, Missing, Missing, Missing, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := healthy()
			f.Root = true
			c.spoil(&f)
			r := Examine(f)
			want := map[string]State{"local": c.local, "netns": c.netns, "containerlab": c.clab}
			got := map[string]State{}
			for _, runner := range r.Runners {
				got[runner.Name] = runner.State
			}
			if !maps.Equal(got, want) || r.CanRun() != c.can {
				t.Errorf("got %v, can run %v; want %v, %v", got, r.CanRun(), want, c.can)
			}
		})
	}
}

func TestReportForPeople(t *testing.T) {
	f := healthy()
	f.Synced = false
	var out bytes.Buffer
	if _, err := Examine(f).WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Runners\n  ok       local", "\nHost\n  ok       kernel        Linux 6.1.0-18-amd64 (every runner)\n",
		"  limited  time          the kernel's clock is not synchronized", "\n                         fix: sudo timedatectl set-ntp true\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestVersionIn(t *testing.T) {
	for out, want := range map[string]string{
		"bgpd version 8.4.4\nCopyright": "8.4.4", "BIRD version 2.0.12\n": "2.0.12", "DiG 9.18.49-1~deb12u1-Debian\n": "9.18.49",
		"kdig (Knot DNS), version 3.2.6": "3.2.6", "Docker version 28.2.2, build e6534b4": "28.2.2", "": "", "usage: x\n1.0": "",
	} {
		if got := versionIn(out); got != want {
			t.Errorf("%q: got %q, want %q", out, got, want)
		}
	}
}

// The collector runs on whatever host this is; what it says must be sound, whatever it is.
func TestCollectOnThisHost(t *testing.T) {
	dir := t.TempDir()
	f := Collect(t.Context(), Options{StateRoot: dir + "/not/there/yet", Binary: os.Args[0]})
	if f.OS != runtime.GOOS || f.Kernel == "" || f.State != "" || f.Memory == 0 || f.Files == 0 || len(f.Ports) != 3 {
		t.Errorf("got %+v", f)
	}
	if strings.Contains(f.Namespaces, "exit status") {
		t.Errorf("namespaces failed without a reason: %s", f.Namespaces)
	}
	if got := writable("/proc/1/nowhere"); got == "" {
		t.Error("/proc is said to be writable")
	}
}
