package popd

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/catchment-net/catchment/popd/accesslog"
	"github.com/catchment-net/catchment/popd/upstream"
	"github.com/catchment-net/catchment/site"
)

// TimingPragma in a request's Pragma asks for Server-Timing in the answer.
const TimingPragma = "server-timing"

// recorder is the http.ResponseWriter of a request that the handler answers, and what is noted of it for counters and
// access log.
type recorder struct {
	http.ResponseWriter
	s        *Server
	began    time.Time
	from     asker
	site     *site.Site // nil: none
	how      result
	upstream string        // tier; empty: none was asked
	took     time.Duration // upstream, to the header
	status   int
	bytes    int64
	timing   bool
}

func (s *Server) record(w http.ResponseWriter, r *http.Request) *recorder {
	return &recorder{ResponseWriter: w, s: s, began: s.o.Now(), timing: strings.Contains(r.Header.Get("Pragma"), TimingPragma)}
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// WriteHeader is http.ResponseWriter's.
func (rec *recorder) WriteHeader(status int) {
	if status >= 200 {
		rec.status = status
		if rec.timing {
			rec.Header()["Server-Timing"] = appended(rec.Header()["Server-Timing"], rec.serverTiming())
		}
	}
	rec.ResponseWriter.WriteHeader(status)
}

// Write is io.Writer's.
func (rec *recorder) Write(p []byte) (int, error) {
	n, err := rec.ResponseWriter.Write(p)
	rec.bytes += int64(n)
	return n, err
}

// serverTiming is our metrics of Server-Timing (Server Timing, W3C), in milliseconds: upstream's to its header, and ours
// to this one.
func (rec *recorder) serverTiming() string {
	ms := func(d time.Duration) string {
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64)
	}
	own := "cache;desc=\"" + rec.s.o.Node + " " + resultNames[rec.how] + "\";dur=" + ms(rec.s.o.Now().Sub(rec.began))
	if rec.upstream == "" {
		return own
	}
	return own + ", " + rec.upstream + ";dur=" + ms(rec.took)
}

// noted says how the request of a handler's writer is answered; the last word counts.
func noted(w http.ResponseWriter, how result) {
	if rec, ok := w.(*recorder); ok {
		rec.how = how
	}
}

// notedUpstream says who was asked for it, and how long that took.
func notedUpstream(w http.ResponseWriter, tier string, took time.Duration) {
	if rec, ok := w.(*recorder); ok {
		rec.upstream, rec.took = tier, took
	}
}

// done counts the request and logs it.
func (rec *recorder) done(r *http.Request) {
	name := ""
	if rec.site != nil {
		name = rec.site.Name
	}
	rec.s.tallies.of(name).add(rec.from, rec.how, rec.bytes)
	if rec.s.o.AccessLog == nil || rec.from != fromClient {
		return
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	client, _ := netip.ParseAddrPort(r.RemoteAddr)
	rec.s.o.AccessLog.Add(&accesslog.Record{
		Time: rec.began, Client: client.Addr().Unmap(), Method: r.Method, Scheme: scheme, Host: r.Host, Target: r.RequestURI, Proto: r.Proto,
		Status: rec.status, Bytes: rec.bytes, Duration: rec.s.o.Now().Sub(rec.began), Result: resultNames[rec.how], Upstream: rec.upstream,
		Site: name, Referer: r.Header.Get("Referer"), UserAgent: r.Header.Get("User-Agent"),
	})
}

// tookOf is how long an answer's header took to come.
func tookOf(a *upstream.Answer) time.Duration { return a.ResponseTime.Sub(a.RequestTime) }
