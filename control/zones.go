package control

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"runtime"

	"github.com/catchment-net/catchment/internal/conf"
)

// What a folder holds is taken whole or not at all, but for the zones: they are many customers', and one of them must
// not keep the others' changes away.
//
//	zones/a.example ──► right ─────────────────────► Zones
//	zones/b.example ──► mistakes ─┬─► known ───────► Zones, from its last good copy ─┐
//	                              └─► not known ───► (served as SERVFAIL) ───────────┴─► BadZones
//
// `check` is strict: for it every mistake is an error.

// BadZone is a zone that is not as its file says.
type BadZone struct {
	Origin string `json:"zone"` // as Zone.Origin
	File   string `json:"file"` // as messages name it
	Error  string `json:"error"`
	Kept   bool   `json:"kept"` // its last good copy is in Zones and Files; else it is not in Zones, and Files has it as it is
}

// LoadServing is Load for a node, which serves what can be served: a zone with mistakes is replaced by its copy in last
// (which may be nil), and listed in BadZones.
func LoadServing(dir string, last *Snapshot) (*Snapshot, error) {
	files, err := readFolder(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("read configuration in %q: %w", dir, err)
	}
	return parse(folderName(dir), files, reading{folder: folderLabel(dir), serving: true, last: last})
}

// ParseServing is Parse as LoadServing is Load.
func ParseServing(name string, files map[string][]byte, last *Snapshot) (*Snapshot, error) {
	return parse(name, files, reading{serving: true, last: last})
}

// readZones reads the zones among the files. It replaces, in Files, what it takes from the last Snapshot.
func (s *Snapshot) readZones(names []string, r reading) (docs []*conf.Doc) {
	s.byOrigin = map[string]int{}
	for _, file := range names {
		if path.Dir(file) != ZonesFolder {
			continue
		}
		doc := conf.Plain(r.label(file), s.Files[file])
		z, ok := s.readZone(doc, file, r)
		if twin := s.zone(z.Origin); ok && twin != nil {
			doc.Fail(0, 0, fmt.Sprintf("zone %s is in %s, too", z.Origin, twin.File), "keep one of them")
			docs = append(docs, doc)
			continue
		}
		switch {
		case !ok && !r.serving:
			docs = append(docs, doc)
			continue
		case !ok:
			bad := BadZone{Origin: z.Origin, File: z.File, Error: doc.Err().Error()}
			if before := r.last.zone(z.Origin); before != nil {
				bad.Kept, z, ok = true, *before, true
				s.Files[file] = before.Text
			}
			s.BadZones = append(s.BadZones, bad)
		}
		if ok {
			s.byOrigin[z.Origin] = len(s.Zones)
			s.Zones = append(s.Zones, z)
		}
	}
	return docs
}

func (s *Snapshot) readZone(doc *conf.Doc, file string, r reading) (Zone, bool) {
	text, origin := s.Files[file], originOf(path.Base(file))
	if before := r.last.zone(origin); before != nil && before.File == doc.File() && bytes.Equal(before.Text, text) {
		return *before, true
	}
	runtime.Gosched() // a name server in this process answers meanwhile
	return readZone(doc, origin, text)
}
