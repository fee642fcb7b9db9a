package popd

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/purge"
	"github.com/catchment-net/catchment/site"
)

// MaxPurgeKeys bounds the surrogate keys of one request.
const MaxPurgeKeys = 256

// PurgeRequest names what is to be purged: one URL with all its variants, or all that has one of some surrogate keys.
type PurgeRequest struct {
	URL  string   `json:"url,omitempty"`  // absolute
	Keys []string `json:"keys,omitempty"` // instead of URL
	Site string   `json:"site,omitempty"` // whose keys; empty: those of every site here
	Soft bool     `json:"soft,omitempty"` // stale from now on, and served as far as a stale answer may be
}

// Purged says what a purge has done.
type Purged struct {
	Node       string `json:"node"`
	Generation uint64 `json:"generation"` // of the node's purge index; what is fetched from now on has at least this
}

// Purge makes what the request names unusable, also what is on its way; once it has returned, no request that comes is
// answered with it. Nothing is changed where there is an error.
func (s *Server) Purge(r PurgeRequest) (Purged, error) {
	c := s.config.Load()
	if c == nil {
		return Purged{}, errors.New("purge: no configuration yet")
	}
	tags, err := c.tags(r)
	if err != nil {
		return Purged{}, err
	}
	done := Purged{Node: s.o.Node, Generation: s.o.Purges.Purge(r.Soft, tags...)}
	s.metrics.purged(r)
	s.o.Events.Add(event.Event{Kind: event.Purge, Subject: r.subject(), State: r.how()})
	return done, nil
}

func (r PurgeRequest) subject() string {
	if r.URL != "" {
		return r.URL
	}
	return strings.Join(r.Keys, " ")
}

func (r PurgeRequest) how() string {
	if r.Soft {
		return "soft"
	}
	return "hard"
}

// tags is what the index knows the request's subject by.
func (c *config) tags(r PurgeRequest) ([]purge.Tag, error) {
	switch {
	case (r.URL != "") == (len(r.Keys) > 0):
		return nil, errors.New("purge: want either a URL or surrogate keys")
	case r.URL != "":
		k, err := c.keyOf(r.URL)
		if err != nil {
			return nil, err
		}
		return []purge.Tag{purge.URLTag(k)}, nil
	case len(r.Keys) > MaxPurgeKeys:
		return nil, fmt.Errorf("purge: %d keys; want at most %d in one request", len(r.Keys), MaxPurgeKeys)
	}
	var tags []purge.Tag
	for name := range c.named(r.Site) {
		for _, k := range r.Keys {
			tags = append(tags, purge.KeyTag(name, k))
		}
	}
	if len(tags) == 0 {
		return nil, fmt.Errorf("purge: no site is called %q here", r.Site)
	}
	return tags, nil
}

// named are the names of the sites here, or the one that is asked for.
func (c *config) named(only string) map[string]bool {
	names := map[string]bool{}
	for _, s := range c.sites() {
		if only == "" || s.Name == only {
			names[s.Name] = true
		}
	}
	return names
}

// keyOf is the key under which the answers to an absolute URL are stored.
func (c *config) keyOf(text string) (key.Key, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return key.Key{}, fmt.Errorf("purge: %q is no absolute URL; want http://HOST/PATH", text)
	}
	var st *site.Site
	st, host := c.site(u.Host)
	if st == nil {
		return key.Key{}, fmt.Errorf("purge: no site here has the host %q", u.Host)
	}
	return key.Canonical(u.Scheme, host, u.EscapedPath(), u.RawQuery, keyRules(c, st)).Key(), nil
}

// found is a stored answer, and whether it was purged softly: then it is stale, whatever its age.
type found struct {
	mem.View
	soft bool
}

// use says what the answer is good for.
func (f found) use(now fresh.Instant, w fresh.Wish) fresh.Use {
	p := f.Policy()
	switch u := p.Use(now, w); {
	case !f.soft || u != fresh.Fresh:
		return u
	case p.WhileRevalidate > 0:
		return fresh.Refresh
	}
	return fresh.Revalidate
}

// lookup is the stored answer to a request, which must be released, or what the URL's stored answers differ by.
func (s *Server) lookup(primary key.Key, sel mem.Select) (e found, vary []string) {
	v, vary := s.store.Get(primary, sel)
	return s.unpurged(primary, v), vary
}

// unpurged is an entry of a URL, unless it has been purged: then it is dropped.
func (s *Server) unpurged(primary key.Key, v mem.View) found {
	if !v.OK() {
		return found{}
	}
	head := s.o.Purges.Head() // before the check: a purge in between is then checked the next time
	switch s.o.Purges.Check(v.Stamp(), purge.URLTag(primary), v.Tags()) {
	case purge.Hard:
		s.store.RemoveEntry(v)
		v.Release()
		return found{}
	case purge.Soft:
		return found{View: v, soft: true}
	}
	v.Raise(head)
	return found{View: v}
}
