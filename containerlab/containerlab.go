// Package containerlab renders a lab as a folder that stock `containerlab deploy` takes, and runs labs by it.
//
//	topology.yaml ──► layout.Plan ──► NAME.clab.yml, a folder for each machine ──► containerlab deploy
//
// A container is a machine of the layout: a node of a POP, or a network's router with its clients and origins. Ours run
// from an image that holds the catchment binary and nothing else, so every probe is a subcommand; routers may be FRR.
//
// Rendering is pure: the same lab gives the same bytes. Keys, which must not be guessed, are made by the caller.
package containerlab

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/layout"
	"github.com/catchment-net/catchment/topology"
)

// The kinds of router.
const (
	Ours = "ours"
	FRR  = "frr"
)

// The images, which the environment of `containerlab deploy` may replace.
const (
	OurImage = "${CATCHMENT_IMAGE:=catchment/lab:latest}"
	FRRImage = "${FRR_IMAGE:=quay.io/frrouting/frr:10.5.1}"
)

// Options says what to render. Name, Topology and Lab are required.
type Options struct {
	Name     string             // what to call the lab; dashes, which containerlab keeps for itself, and underscores, which no host name has, are left out
	Topology *topology.Topology // of the lab
	Lab      map[string][]byte  // the lab's files by their names in its folder: topology.yaml, sites/…, zones/…, drills/…
	Router   string             // Ours or FRR for every network; "" leaves it to the topology
	Mgmt     netip.Prefix       // the management network, a /24; the zero Prefix derives one of 172.28.0.0/16 from the name
	Version  string             // of catchment, for the README

	// Driven renders for a runner that plays clients and origins itself and hears what the routers report: without the
	// containers that do so where nobody drives the lab.
	Driven bool
}

// Folder is what a rendered lab consists of.
type Folder struct {
	Name  string            // the lab's name for containerlab
	Files map[string][]byte // by path
	Plan  *layout.Plan
	Mgmt  netip.Prefix

	nodes  []*container
	driven bool
}

// TopologyFile is the name of the file that containerlab takes.
func (f *Folder) TopologyFile() string { return f.Name + ".clab.yml" }

var labName = regexp.MustCompile(`^[a-z0-9]+$`)

// Render makes the folder.
func Render(o Options) (*Folder, error) {
	f := &Folder{Name: strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(o.Name)), Files: map[string][]byte{}, Mgmt: o.Mgmt, driven: o.Driven}
	if !labName.MatchString(f.Name) {
		return nil, fmt.Errorf("lab name %q: want letters, digits and dashes, for it becomes part of container names", o.Name)
	}
	switch o.Router {
	case "", Ours, FRR:
	case topology.BIRD:
		return nil, noBIRD()
	default:
		return nil, fmt.Errorf("router %q: want %s or %s", o.Router, Ours, FRR)
	}
	if !f.Mgmt.IsValid() {
		f.Mgmt = mgmtOf(f.Name)
	}
	if !f.Mgmt.Addr().Is4() || f.Mgmt.Bits() != 24 || f.Mgmt.Masked() != f.Mgmt {
		return nil, fmt.Errorf("management network %v: want an IPv4 /24, such as %v", f.Mgmt, mgmtOf(f.Name))
	}
	if err := o.routable(); err != nil {
		return nil, err
	}
	var err error
	if f.Plan, err = layout.New(o.Topology); err != nil {
		return nil, err
	}
	if f.nodes, err = containers(f.Plan, &o, f.Mgmt); err != nil {
		return nil, err
	}
	for name, text := range o.Lab {
		f.Files["lab/"+name] = text
	}
	for _, c := range f.nodes {
		if err := c.files(f); err != nil {
			return nil, err
		}
	}
	f.Files[hostsFile] = hosts(o.Topology)
	f.Files[f.TopologyFile()] = []byte(f.topologyFile())
	f.Files["README.md"] = []byte(f.readme(&o))
	f.Files["Makefile"] = []byte(f.makefile())
	f.Files[".gitignore"] = []byte("/clab-" + f.Name + "/\n/." + f.TopologyFile() + ".bak\n")
	return f, nil
}

// routable reports what the routers cannot do in containers, as a *labs.CannotError.
func (o *Options) routable() error {
	software := func(n *topology.Network) string { return cmp.Or(o.Router, n.Router) }
	for _, n := range o.Topology.Internet.Networks {
		if software(n) == topology.BIRD {
			return noBIRD()
		}
	}
	return labs.Routable(o.Topology, software)
}

func noBIRD() error {
	return &labs.CannotError{What: "run BIRD in a container: nobody publishes an image of it that we know", Fix: "use --runner netns, or --router frr"}
}

// mgmtOf spreads labs over 172.28.0.0/16, so that two of them rarely want the same network.
func mgmtOf(name string) netip.Prefix {
	h := fnv.New32a()
	h.Write([]byte(name))
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 28, byte(h.Sum32()), 0}), 24)
}

// Write writes the folder's files below dir. What an earlier rendering left of this lab goes first: the lab's files and
// the machines' folders. Other files stay, the keys among them.
func (f *Folder) Write(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, f.TopologyFile())); err == nil {
		old := []string{"lab"}
		for _, m := range f.Plan.Machines {
			old = append(old, m.Name, m.Name+edgeSuffix)
		}
		for _, name := range old {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("remove what an earlier rendering left: %w", err)
			}
		}
	}
	for name, text := range f.Files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("write lab: %w", err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return fmt.Errorf("write lab: %w", err)
		}
	}
	return nil
}

// Occupied reports whether dir holds something else than an earlier rendering of this lab.
func (f *Folder) Occupied(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into %q: %w", dir, err)
	}
	_, err = os.Stat(filepath.Join(dir, f.TopologyFile()))
	return err != nil, nil
}
