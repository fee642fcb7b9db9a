// Package control turns a folder (topology.yaml, sites/, zones/, steering.csv and measured.csv, and parent/ in a lab) into
// one immutable Snapshot, watches the folder for changes, and keeps the last good copy in a node's state directory.
//
//	folder ──Load──► files ──Parse──► Snapshot ──► the node's daemons
//	   └──── Watch (stable for one poll) ────┘ └──Save──► state directory ──LoadSaved──► a node that starts alone
package control

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/geodata"
	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// The names of what a folder holds. drills/ belongs to labs and is no part of a Snapshot.
const (
	TopologyFile = "topology.yaml"
	RulesFile    = "steering.csv" // where the clients of networks and ASes go (geodata.ReadRules)
	MeasuredFile = "measured.csv" // which POP was measured best for networks (geodata.ReadMeasured)
	SitesFolder  = "sites"
	ZonesFolder  = "zones"
	ParentFolder = topology.ParentFolder // zones that a lab's name servers of others serve
)

// Snapshot is one immutable configuration, checked as a whole.
type Snapshot struct {
	Topology *topology.Topology
	Sites    []*site.Site      // by file name
	Zones    []Zone            // by file name
	Rules    geodata.Rules     // of steering.csv and measured.csv
	BadZones []BadZone         // by file name; only in what LoadServing, ParseServing and Watch return
	Parents  map[string]Zone   // what a lab's name servers of others serve, by file as topology.ServedZone has it
	Files    map[string][]byte // what it was made of: "topology.yaml", "sites/shop.yaml", "zones/shop.example"
	Digest   string            // of names and contents of Files, in hexadecimal

	byOrigin map[string]int // indexes of Zones
}

// Zone is one zone in master-file form (RFC 1035 §5). Its syntax has been checked; its SOA is that of Origin.
type Zone struct {
	Origin string // fully qualified, lower case, with the final dot: "shop.example."
	File   string // as messages name it
	Text   []byte

	facts zoneFacts
}

// Site returns the site that claims the host (lower case, no final dot) and the host in it; nil, nil if none does.
func (s *Snapshot) Site(host string) (*site.Site, *site.Host) {
	for _, one := range s.Sites {
		if h := one.Host(host); h != nil {
			return one, h
		}
	}
	return nil, nil
}

// ZoneOf returns the zone that holds the name: the longest origin that it ends in; nil if none does.
func (s *Snapshot) ZoneOf(name string) *Zone {
	name = strings.ToLower(strings.TrimSuffix(name, ".")) + "."
	for {
		if i, ok := s.byOrigin[name]; ok {
			return &s.Zones[i]
		}
		_, up, _ := strings.Cut(name, ".")
		switch {
		case name == ".":
			return nil
		case up == "":
			name = "."
		default:
			name = up
		}
	}
}

// zone returns the zone of that very origin, nil if there is none. A nil Snapshot has none.
func (s *Snapshot) zone(origin string) *Zone {
	if s == nil {
		return nil
	}
	if i, ok := s.byOrigin[origin]; ok {
		return &s.Zones[i]
	}
	return nil
}

// Parse checks a set of files (keys as in Snapshot.Files) and makes a Snapshot of it; others than those are ignored.
// name becomes the topology's name. The error is a *conf.Problems with every mistake in all files, and then there is
// no Snapshot. files must not be changed afterwards.
func Parse(name string, files map[string][]byte) (*Snapshot, error) {
	return parse(name, files, reading{})
}

// reading is how a set of files is read. The zero value is strict and knows nothing.
type reading struct {
	folder  string    // that messages put before each file's name
	serving bool      // a bad zone is no error
	last    *Snapshot // what was in force: zones that have not changed are not read again; nil for none
}

func (r reading) label(file string) string { return path.Join(r.folder, file) }

func parse(name string, files map[string][]byte, r reading) (*Snapshot, error) {
	files = relevant(files)
	s := &Snapshot{Files: files}
	label := r.label
	var docs []*conf.Doc

	text, ok := files[TopologyFile]
	if !ok {
		missing := conf.Plain(label(TopologyFile), nil)
		missing.Fail(0, 0, "file is missing", "a configuration is a folder with topology.yaml, sites/ and zones/: is this the right one?")
		return nil, missing.Err()
	}
	network := conf.Parse(label(TopologyFile), text)
	s.Topology = topology.Read(network)
	s.Topology.Name = name
	docs = append(docs, network)
	checked := s.Topology
	if network.Err() != nil {
		checked = nil // a broken topology says nothing about the sites
	}

	owners := map[string]conf.Value{}
	var hosts []claimedHost
	names := slices.Sorted(maps.Keys(files))
	for _, file := range names {
		if path.Dir(file) != SitesFolder {
			continue
		}
		doc := conf.Parse(label(file), files[file])
		docs = append(docs, doc)
		if path.Ext(file) != ".yaml" {
			doc = conf.Plain(label(file), files[file])
			doc.Fail(0, 0, fmt.Sprintf("a site's file ends in %q", path.Ext(file)), "name it NAME.yaml")
			docs[len(docs)-1] = doc
			continue
		}
		s.Sites = append(s.Sites, site.Read(doc, checked))
		limitChecks(doc, s.Sites)
		hosts = append(hosts, claims(doc, owners)...)
	}
	docs = append(docs, s.readZones(names, r)...)
	s.checkHosts(hosts)
	docs = append(docs, s.readRules(checked, label)...)
	docs = append(docs, s.readParents(checked, network, label)...)
	var errs []error
	for _, d := range docs {
		errs = append(errs, d.Err())
	}
	if err := conf.Join(errs...); err != nil {
		return nil, err
	}
	s.Digest = digest(files)
	return s, nil
}

// limitChecks reports the site with which there are too many addresses to probe.
func limitChecks(doc *conf.Doc, sites []*site.Site) {
	total, last := 0, 0
	for _, one := range sites {
		last = 0
		for _, h := range one.Hosts {
			last += len(h.Checks())
		}
		total += last
	}
	if total > site.MaxChecks && total-last <= site.MaxChecks {
		doc.Root().Fail(fmt.Sprintf("with this site %d addresses of targets have a probe", total),
			fmt.Sprintf("at most %d are supported, all sites together: leave `probe` away from targets that share a machine", site.MaxChecks))
	}
}

// claimedHost is a host with its place in a site's file.
type claimedHost struct {
	name string
	at   conf.Value
}

// claims lists the hosts of a site and reports those that another site has.
func claims(doc *conf.Doc, owners map[string]conf.Value) []claimedHost {
	var list []claimedHost
	own := map[string]bool{}
	for _, e := range doc.Root().Lookup("hosts").Entries() {
		name := conf.HostName(e.Key, "host")
		if name == "" || own[name] {
			continue
		}
		own[name] = true
		if before, ok := owners[name]; ok {
			e.Key.Fail(fmt.Sprintf("host %q belongs to another site already, at %s", name, before.Pos()), "let one site have it")
			continue
		}
		owners[name] = e.Key
		list = append(list, claimedHost{name, e.Key})
	}
	return list
}

// checkHosts reports hosts that lie in no zone: nobody would ask us for them. A host in a zone whose file is broken is
// left alone, as that file's name says what zone it is.
func (s *Snapshot) checkHosts(hosts []claimedHost) {
	named := map[string]bool{}
	for file := range s.Files {
		if path.Dir(file) == ZonesFolder {
			named[originOf(path.Base(file))] = true
		}
	}
	for _, h := range hosts {
		name := h.name + "."
		for name != "" && !named[name] {
			_, name, _ = strings.Cut(name, ".")
		}
		if name != "" || named["."] {
			continue
		}
		_, parent, _ := strings.Cut(h.name, ".")
		h.at.Fail(fmt.Sprintf("host %q lies in no zone that we serve", h.name), fmt.Sprintf("add the zone's master file, say %s/%s", ZonesFolder, parent))
	}
}

// folders are those whose files belong to a Snapshot.
func folders() []string { return []string{SitesFolder, ZonesFolder, ParentFolder} }

// rootFiles are those beside the folders.
func rootFiles() []string { return []string{TopologyFile, RulesFile, MeasuredFile} }

// relevant leaves out what is no part of a Snapshot.
func relevant(files map[string][]byte) map[string][]byte {
	kept := map[string][]byte{}
	for name, text := range files {
		if slices.Contains(rootFiles(), name) || slices.Contains(folders(), path.Dir(name)) {
			kept[name] = text
		}
	}
	return kept
}

// digest is SHA-256 over names and contents, each preceded by its length so that no two sets run together alike.
func digest(files map[string][]byte) string {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		part([]byte(name))
		part(files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}
