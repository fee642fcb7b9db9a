package control

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/topology"
)

// readParents reads the zones that a lab's name servers of others serve. Each is named in the topology, whose mistakes
// go to named; without a topology nothing says what zone a file holds.
func (s *Snapshot) readParents(t *topology.Topology, named *conf.Doc, label func(string) string) []*conf.Doc {
	if t == nil {
		return nil
	}
	s.Parents = map[string]Zone{}
	origins := map[string]string{}
	var docs []*conf.Doc
	entries := named.Root().Lookup("internet", "nameservers").Entries() // the file is right: they are t's, one by one
	for i, n := range t.Internet.NameServers {
		places := entries[i].Value.Lookup("zones").Entries()
		for k, z := range n.Zones {
			at := places[k].Value
			text, there := s.Files[z.File]
			before, read := origins[z.File]
			switch {
			case !there:
				at.Fail(fmt.Sprintf("name server %q serves %q, which is missing", n.Host, z.File), "write it: a master file with an SOA, NS records and what it delegates")
				continue
			case read && before != z.Origin:
				at.Fail(fmt.Sprintf("%q is served as zone %s and as %s", z.File, before, z.Origin), "give each zone a file of its own")
				continue
			case read:
				continue
			}
			origins[z.File] = z.Origin
			doc := conf.Plain(label(z.File), text)
			docs = append(docs, doc)
			if zone, ok := readZone(doc, z.Origin, text); ok {
				s.Parents[z.File] = zone
			}
		}
	}
	for _, file := range slices.Sorted(maps.Keys(s.Files)) {
		if _, used := origins[file]; path.Dir(file) == ParentFolder && !used {
			doc := conf.Plain(label(file), s.Files[file])
			doc.Fail(0, 0, "no name server serves this zone", "name it in topology.yaml under `internet: {nameservers: {…}}`, or remove it")
			docs = append(docs, doc)
		}
	}
	return docs
}
