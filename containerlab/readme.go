package containerlab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/topology"
)

// text collects lines.
type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// readme is the lab's README.md: the table that containerlab's own labs have, the graph, and how to run it.
func (f *Folder) readme(o *Options) string {
	var t text
	t.line("# %s", f.Name)
	t.line("")
	t.line("| | |")
	t.line("| --- | --- |")
	t.line("| **Description** | %s |", f.describe())
	t.line("| **Components** | %s |", f.components())
	t.line("| **Resource requirements**[^1] | 2 vCPU, %.1f GB of memory |", f.memory())
	t.line("| **Topology file** | [%s](%[1]s) |", f.TopologyFile())
	t.line("| **Name** | %s |", f.Name)
	t.line("| **Version information** | catchment %s · containerlab 0.60 or later · Docker 20.10 or later%s |", o.Version, f.ifFRR(" · FRR 8.4 or later"))
	t.line("")
	t.line("Written by `catchment lab render` from the lab in [lab/](lab/). To change the lab, change that and render again.")
	t.line("")
	t.line("```mermaid\n%s```", f.mermaid())
	t.line("")
	f.start(&t)
	f.drills(&t, o)
	t.line("## End\n\n```sh\ncontainerlab destroy -t %s --cleanup\n```\n", f.TopologyFile())
	t.line("The keys in `keys/` are this rendering's own and protect nothing outside it.\n")
	t.line("[^1]: Beside what the host itself needs; a container of ours takes 5 to 40 MB%s.", f.ifFRR(", one of FRR 30 MB"))
	return t.String()
}

func (f *Folder) count(r role) int {
	n := 0
	for _, c := range f.nodes {
		if c.role == r {
			n++
		}
	}
	return n
}

func (f *Folder) describe() string {
	t := f.Plan.Topology
	return fmt.Sprintf("Anycast network AS %d with %d POPs, as %d networks around it see it: routing, DNS and caches that fail over",
		t.ASN, len(t.POPs), len(t.Internet.Networks))
}

func (f *Folder) components() string {
	var parts []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(f.count(pop), "POP node", "POP nodes")
	add(f.count(transit)+f.count(network), "network", "networks")
	add(f.count(client), "client network", "client networks")
	add(len(f.Plan.Topology.Internet.Origins), "origin", "origins")
	return strings.Join(parts, ", ") + f.ifFRR("; routers are FRR")
}

func (f *Folder) hasFRR() bool {
	return slices.ContainsFunc(f.nodes, func(c *container) bool { return c.frr })
}

func (f *Folder) ifFRR(s string) string {
	if f.hasFRR() {
		return s
	}
	return ""
}

// memory is a guess in GB from what such containers were seen to take, shims included.
func (f *Folder) memory() float64 {
	mb := 200.0
	for _, c := range f.nodes {
		switch {
		case c.role == pop:
			mb += 60
		case c.frr:
			mb += 50
		default:
			mb += 25
		}
	}
	return mb / 1000
}

// mermaid is the graph: who buys from whom points to it.
func (f *Folder) mermaid() string {
	var t text
	t.line("graph BT")
	for _, c := range f.nodes {
		if c.beside != nil {
			continue
		}
		label := fmt.Sprintf("%s<br/>AS %d, %s", c.name, c.machine.ASN, c.where())
		shape := map[role][2]string{pop: {"([\"", "\"])"}, client: {"[\"", "\"]"}}
		s, known := shape[c.role]
		if !known {
			s = [2]string{"{{\"", "\"}}"}
		}
		t.line("  %s%s%s%s", c.name, s[0], label, s[1])
	}
	for _, w := range f.Plan.Wires {
		arrow := "-->"
		if w.Link.Relation == topology.Peering {
			arrow = "---"
		}
		t.line("  %s %s %s", w.A.Machine.Name, arrow, w.B.Machine.Name)
	}
	return t.String()
}

func (f *Folder) start(t *text) {
	first := f.Plan.Topology.Nodes()[0].Name
	t.line("## Start\n")
	t.line("```sh\ncontainerlab deploy -t %s\n```\n", f.TopologyFile())
	t.line("The image of all containers%s is `catchment/lab:latest`: `make lab-image` in Catchment's source builds it, and the environment variable", f.ifFRR(" but FRR's"))
	t.line("`CATCHMENT_IMAGE` names another%s.\n", f.ifFRR("; `FRR_IMAGE` does so for FRR"))
	t.line("## Verify\n")
	t.line("```sh")
	t.line("containerlab inspect -t %s", f.TopologyFile())
	t.line("docker exec clab-%s-%s /catchment status         # the fleet as this node sees it", f.Name, first)
	t.line("docker exec clab-%s-%s /catchment bgp neighbors  # its sessions", f.Name, first)
	for _, c := range f.nodes {
		if c.frr && c.role == client {
			t.line("docker exec clab-%s-%s vtysh -c 'show bgp ipv4 unicast'", f.Name, c.name)
			break
		}
	}
	t.line("```\n")
}

// drills lists what the lab's folder says can be rehearsed.
func (f *Folder) drills(t *text, o *Options) {
	var names []string
	for name := range o.Lab {
		if drill, ok := strings.CutPrefix(name, "drills/"); ok && strings.HasSuffix(drill, ".yaml") {
			names = append(names, strings.TrimSuffix(drill, ".yaml"))
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	t.line("## Drills\n")
	t.line("A drill breaks something under load and says what clients saw. It brings up a lab of its own from `lab/`, as root:\n")
	t.line("```sh")
	for _, n := range names {
		t.line("make drill DRILL=%s", n)
	}
	t.line("```\n")
}

// makefile is for those who like `make` better.
func (f *Folder) makefile() string {
	return strings.ReplaceAll(`# Written by catchment lab render. containerlab deploy -t TOPOLOGY alone does as well.

TOPOLOGY := @FILE@
DRILL    ?=
export CLAB_VERSION_CHECK ?= disable

.PHONY: deploy inspect drill graph destroy

deploy:
	containerlab deploy -t $(TOPOLOGY)

inspect:
	containerlab inspect -t $(TOPOLOGY)

drill:
	catchment drill run lab/drills/$(DRILL).yaml --runner containerlab

graph:
	containerlab graph -t $(TOPOLOGY) --mermaid

destroy:
	containerlab destroy -t $(TOPOLOGY) --cleanup
`, "@FILE@", f.TopologyFile())
}
