package popd

import (
	"bytes"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/popd/accesslog"
	"github.com/catchment-net/catchment/popd/fresh"
	"github.com/catchment-net/catchment/popd/h1"
	"github.com/catchment-net/catchment/popd/key"
	"github.com/catchment-net/catchment/popd/store/mem"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// hot answers hits of one listener from the loop, without a map of the header and without allocating. It answers only
// where it is plain that the handler (cached) would answer the same: a fresh stored answer to a URL that is canonical as
// it stands, and conditions that can be decided by comparing bytes. It leaves all else to the handler.
type hot struct {
	s       *Server
	anycast bool
	tail    []byte // of every header: Via, and Cache-Status up to the number of seconds
}

func (s *Server) newHot(anycast bool) *hot {
	return &hot{s: s, anycast: anycast, tail: []byte("Via: " + viaMember(1, 1, s.o.Node) + "\r\nCache-Status: " + s.member("hit", "ttl="))}
}

// hotState is what hot keeps for a connection: the host that it was last asked for, and the answer that it is writing.
type hotState struct {
	mem.View
	config *config // of the following
	asked  []byte  // the Host field
	site   *site.Site
	host   string
	tally  *tally // of site
}

// maxHotHost is how many bytes of a Host field are kept for a connection.
const maxHotHost = 256

// Answer is h1.Hot's.
func (h *hot) Answer(q *h1.Head, a *h1.Answer) bool {
	s := h.s
	if coldFields(q) || bytes.HasPrefix(q.Target, []byte(topology.HealthPath)) || s.dropsDrained() || fault.Is(fault.WrongBody) {
		return false
	}
	st, ok := a.Pin.(*hotState)
	if !ok {
		st = new(hotState)
		a.Pin = st
	}
	c := s.config.Load()
	if !st.find(c, q) || st.site.Cache.ObeyClients && (q.Has(h1.CacheControl) || q.Has(h1.Pragma)) {
		return false
	}
	scheme := "http"
	if q.HTTPS {
		scheme = "https"
	}
	rules := keyRules(c, st.site)
	primary, ok := key.Plain(scheme, st.host, q.Target, &rules)
	if !ok || neverStored(st.site, q.Target) {
		return false
	}
	vary := hotVary{q: q, primary: primary}
	e, _ := s.lookup(primary, vary.selects)
	if !e.OK() {
		return false
	}
	at := s.o.Now()
	now := fresh.At(s.start, at)
	_, sliced := e.Slices()
	if vary.unknown || sliced || e.use(now, fresh.Wish{}) != fresh.Fresh || !h.write(q, a, e.View, e.Policy(), now) {
		e.Release()
		return false
	}
	st.View, a.Pinned = e.View, true
	h.count(q, st, at, a)
	return true
}

// coldFields reports whether the request has a field that may change what a hit answers, or asks how long it took.
func coldFields(q *h1.Head) bool {
	if q.Has(h1.Pragma) && bytes.Contains(q.One(h1.Pragma), []byte(TimingPragma)) {
		return true
	}
	return q.Has(h1.Range) || q.Has(h1.IfRange) || q.Has(h1.IfMatch) || q.Has(h1.IfUnmodifiedSince) || q.Has(h1.CDNLoop)
}

// find has site and host of a Host field ready; most connections ask for one host alone.
func (st *hotState) find(c *config, q *h1.Head) bool {
	if st.config == c && bytes.Equal(st.asked, q.Host) {
		return st.site != nil
	}
	if c == nil || len(q.Host) > maxHotHost {
		return false
	}
	st.config, st.asked = c, append(st.asked[:0], q.Host...)
	if st.site, st.host = c.site(string(q.Host)); q.HTTPS && !c.isNamed(q.ServerName, st.site) {
		st.site = nil // the handler says so
	}
	st.tally = c.tallies[st.site]
	return st.site != nil
}

// neverStored reports whether a rule of the site forbids to look into the store. The path is canonical already.
func neverStored(st *site.Site, target []byte) bool {
	if len(st.Cache.Rules) == 0 {
		return false
	}
	path, _, _ := bytes.Cut(target, []byte{'?'})
	for _, rule := range st.Cache.Rules {
		if site.Match(rule.Path, path) {
			return rule.Never
		}
	}
	return false
}

// hotVary finds the variant that a request selects.
type hotVary struct {
	q       *h1.Head
	primary key.Key
	unknown bool // the answer varies by a field of which only the handler knows what becomes of it
}

// hotVaryNames are the fields that the handler takes as they are, but for what key.Normalise does to them.
var hotVaryNames = map[string]string{
	"accept": "Accept", "accept-encoding": "Accept-Encoding", "accept-language": "Accept-Language", "cookie": "Cookie", "origin": "Origin",
}

// selects is a mem.Select.
func (v *hotVary) selects(names []byte) key.Key {
	header := http.Header{}
	list := make([]string, 0, 4)
	for name := range bytes.SplitSeq(names, []byte{','}) {
		canonical, known := hotVaryNames[string(name)]
		if !known {
			v.unknown = true
			return key.Key{}
		}
		list = append(list, string(name))
		for i := range v.q.Fields {
			if f := &v.q.Fields[i]; bytes.EqualFold(f.Name, name) {
				header[canonical] = append(header[canonical], string(f.Value))
			}
		}
	}
	key.Normalise(header)
	return key.Variant(v.primary, list, header)
}

// write puts the answer together. It reports false, having written nothing that counts, if the request has conditions
// that are not plain.
func (h *hot) write(q *h1.Head, a *h1.Answer, e mem.View, policy fresh.Policy, now fresh.Instant) bool {
	status := e.Status()
	if status == http.StatusOK && (q.Has(h1.IfNoneMatch) || q.Has(h1.IfModifiedSince)) {
		same, plain := unchanged(q, e)
		if !plain {
			return false
		}
		if same {
			status = http.StatusNotModified
		}
	}
	b := a.Head
	b = append(b, "HTTP/1.1 "...)
	if q.Minor == 0 {
		b[len(b)-2] = '0'
	}
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(append(b, ' '), http.StatusText(status)...), "\r\nAge: "...)
	b = strconv.AppendInt(b, int64(policy.Age(now)/time.Second), 10)
	b = append(b, '\r', '\n')
	if status == http.StatusNotModified {
		b = appendNotModified(b, e.Header())
	} else {
		b = append(b, e.Header()...)
	}
	b = append(b, h.tail...)
	b = strconv.AppendInt(b, int64(policy.TTL(now)/time.Second), 10) // not negative: it is fresh
	b = append(b, '\r', '\n')
	a.Head = b
	if status != http.StatusNotModified && string(q.Method) != http.MethodHead {
		a.Body = e.AppendBody(a.Body)
	}
	return true
}

// appendNotModified copies the lines of a header block that a 304 carries.
func appendNotModified(b, block []byte) []byte {
	for len(block) > 0 {
		end := bytes.IndexByte(block, '\n') + 1
		if name, _, _ := bytes.Cut(block[:end], []byte{':'}); fresh.KeptInNotModified(name) {
			b = append(b, block[:end]...)
		}
		block = block[end:]
	}
	return b
}

// unchanged compares a condition with the stored validators (fresh.NotModified). It is plain only if there is one tag, or
// the very date that we sent.
func unchanged(q *h1.Head, e mem.View) (same, plain bool) {
	if q.Has(h1.IfNoneMatch) {
		asked, ok := oneTag(q.One(h1.IfNoneMatch))
		if !ok {
			return false, false
		}
		have, ok := oneTag(e.Field("Etag"))
		return ok && bytes.Equal(asked, have), true
	}
	since := q.One(h1.IfModifiedSince)
	if have := e.Field("Last-Modified"); len(since) == 0 || !bytes.Equal(since, have) {
		return false, false
	}
	_, err := http.ParseTime(string(since))
	return err == nil, true
}

// oneTag reads a single entity tag without its weakness, which counts for nothing here (RFC 9110 §8.8.3.2).
func oneTag(b []byte) (tag []byte, ok bool) {
	b = bytes.TrimPrefix(b, []byte("W/"))
	ok = len(b) >= 2 && b[0] == '"' && bytes.IndexByte(b[1:], '"') == len(b)-2
	return b, ok
}

// count notes the request as the handler does. The answer has not been sent yet: its time in the access log is none.
func (h *hot) count(q *h1.Head, st *hotState, at time.Time, a *h1.Answer) {
	s := h.s
	now := at.UnixNano()
	s.last.Store(now)
	if h.anycast {
		s.lastAny.Store(now)
		s.clients.Add(1)
	}
	sent := int64(0)
	if len(a.Body) > 0 {
		sent = st.Length()
	}
	st.tally.add(fromClient, resultHit, sent)
	if s.o.AccessLog != nil {
		s.o.AccessLog.Add(hotRecord(q, st, at, a, sent))
	}
}

func hotRecord(q *h1.Head, st *hotState, at time.Time, a *h1.Answer, sent int64) *accesslog.Record {
	status, _ := strconv.Atoi(string(a.Head[len("HTTP/1.1 "):][:3])) // write has put it there
	client, _ := netip.ParseAddrPort(q.Remote)
	r := &accesslog.Record{
		Time: at, Client: client.Addr().Unmap(), Method: string(q.Method), Scheme: "http", Host: string(q.Host), Target: string(q.Target),
		Proto: "HTTP/1." + strconv.Itoa(q.Minor), Status: status, Bytes: sent, Result: resultNames[resultHit], Site: st.site.Name,
	}
	if q.HTTPS {
		r.Scheme = "https"
	}
	for i := range q.Fields {
		switch f := &q.Fields[i]; {
		case bytes.EqualFold(f.Name, []byte("referer")):
			r.Referer = string(f.Value)
		case bytes.EqualFold(f.Name, []byte("user-agent")):
			r.UserAgent = string(f.Value)
		}
	}
	return r
}
