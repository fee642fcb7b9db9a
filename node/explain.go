package node

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/explain"
)

// ClientExplanation is what `catchment explain CLIENT` prints.
type ClientExplanation struct {
	Node   string           `json:"node,omitempty"` // whose word it is; empty for an answer from files
	Now    time.Time        `json:"now"`
	Client netip.Addr       `json:"client"`
	Hosts  []explain.Client `json:"hosts"`
}

// serveClient says where this node's name server sends a client now. Where dnsd runs apart from the hub, the hub decides
// by its own copy of all that dnsd decides by.
func (h *hub) serveClient(w http.ResponseWriter, r *http.Request) {
	snap := h.snap.Load()
	client, err := explain.Address(snap.Topology, r.URL.Query().Get("client"))
	if err != nil {
		admin.Refuse(w, http.StatusBadRequest, err, "give ?client=ADDRESS&host=NAME")
		return
	}
	out := ClientExplanation{Node: h.self.Name, Now: h.o.now(), Client: client}
	host := r.URL.Query().Get("host")
	if dns := h.nameServer(); dns != nil {
		out.Hosts, err = dns.Explain(client, host)
	} else {
		out.Hosts, err = h.clientsByFiles(client, host)
	}
	if err != nil {
		admin.Refuse(w, http.StatusNotFound, err, "")
		return
	}
	admin.Reply(w, out)
}

// nameServer is the dnsd of this process; nil where it runs apart.
func (h *hub) nameServer() *dnsDaemon {
	for _, d := range h.inside {
		if dns, ok := d.(*dnsDaemon); ok {
			return dns
		}
	}
	return nil
}

// clientsByFiles reads the geodata anew, which takes half a second for that of the whole Internet.
func (h *hub) clientsByFiles(client netip.Addr, host string) ([]explain.Client, error) {
	snap := h.snap.Load()
	sources, err := Geodata(h.o.MMDB, h.o.Dir, snap)
	if err != nil {
		return nil, err
	}
	return explain.Clients(snap.Topology, snap.Sites, sources, h.judge.seen.Load(), client, host)
}
