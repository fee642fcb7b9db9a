package popd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/site"
)

// certificateEvery is how often the files of certificates are looked at.
const certificateEvery = 10 * time.Second

// certificates are what the sites show to clients. A file that has changed is read again; one that cannot be used leaves
// what was before, and raises an alarm.
type certificates struct {
	log     *slog.Logger
	events  *event.Ring
	metrics *metrics

	mu  sync.Mutex // guards a change of set; held by use and watch
	set atomic.Pointer[certificateSet]
}

// certificateSet is what is in use. It is immutable.
type certificateSet struct {
	sites  []*site.Site // with TLS
	bySite map[string]*certificate
	byHost map[string]*tls.Certificate
	only   *tls.Certificate // if there is just one; for clients that name no host
}

// certificate is one site's, with what its files looked like.
type certificate struct {
	of      site.TLS
	stamp   string
	pair    *tls.Certificate
	problem string // with the files as they are now; pair is of before
}

func newCertificates(o Options, m *metrics) *certificates {
	c := &certificates{log: o.Logger, events: o.Events, metrics: m}
	c.set.Store(&certificateSet{})
	return c
}

// config is the TLS of public listeners. HTTP/2 goes to net/http; session tickets are crypto/tls's own.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			set := c.set.Load()
			if hello.ServerName == "" {
				return set.only, nil
			}
			// Without one the client gets the alert unrecognized_name (RFC 6066 §3).
			return set.byHost[strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))], nil
		},
	}
}

// prepare reads what the sites name, keeping what has not changed. It fails if there is a certificate that cannot be
// used and none to go on with.
func (c *certificates) prepare(sites []*site.Site) (*certificateSet, error) {
	old := c.set.Load()
	next := &certificateSet{bySite: map[string]*certificate{}, byHost: map[string]*tls.Certificate{}}
	var errs []error
	for _, s := range sites {
		if !s.TLS.On() {
			continue
		}
		next.sites = append(next.sites, s)
		have := old.bySite[s.Name]
		stamp := stampOf(s.TLS)
		if have != nil && have.of == s.TLS && have.stamp == stamp && have.problem == "" {
			next.add(s, have)
			continue
		}
		pair, err := readPair(s)
		switch {
		case err == nil:
			next.add(s, &certificate{of: s.TLS, stamp: stamp, pair: pair})
		case have != nil:
			next.add(s, &certificate{of: s.TLS, stamp: stamp, pair: have.pair, problem: err.Error()})
		default:
			errs = append(errs, err)
		}
	}
	return next, errors.Join(errs...)
}

func (n *certificateSet) add(s *site.Site, c *certificate) {
	n.bySite[s.Name] = c
	for _, h := range s.Hosts {
		n.byHost[h.Name] = c.pair
	}
	if n.only = c.pair; len(n.bySite) > 1 {
		n.only = nil
	}
}

// readPair reads a site's certificate and key, which must belong together and be good for the hosts that our POPs answer.
func readPair(s *site.Site) (*tls.Certificate, error) {
	chain, err := os.ReadFile(s.TLS.Certificate)
	if err != nil {
		return nil, fmt.Errorf("site %q: read certificate: %w", s.Name, err)
	}
	key := []byte(os.Getenv(s.TLS.Key.Env))
	if s.TLS.Key.File != "" {
		if key, err = os.ReadFile(s.TLS.Key.File); err != nil {
			return nil, fmt.Errorf("site %q: read the certificate's key: %w", s.Name, err)
		}
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("site %q: certificate %q with its key: %w", s.Name, s.TLS.Certificate, err)
	}
	for _, h := range s.Hosts {
		if err := pair.Leaf.VerifyHostname(h.Name); err != nil && len(h.Targets) == 0 {
			return nil, fmt.Errorf("site %q: certificate %q is not for host %q: %w", s.Name, s.TLS.Certificate, h.Name, err)
		}
	}
	return &pair, nil
}

// stampOf tells one state of the files from another.
func stampOf(t site.TLS) string {
	var b strings.Builder
	for _, file := range []string{t.Certificate, t.Key.File} {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&b, "%s %d %d;", file, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// use takes a set from prepare into use, and tells what is wrong with it where that is new.
func (c *certificates) use(next *certificateSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.set.Swap(next)
	refused := 0
	c.metrics.expiry.Reset()
	for name, cert := range next.bySite {
		c.metrics.expiry.WithLabelValues(name).Set(float64(cert.pair.Leaf.NotAfter.Unix()))
		was := old.bySite[name]
		if cert.problem != "" {
			refused++
		}
		switch {
		case was == nil || was.problem == cert.problem && was.pair == cert.pair:
		case cert.problem != "":
			c.log.Error("a certificate cannot be used; the one before goes on", "site", name, "error", cert.problem)
			c.events.Add(event.Event{Kind: event.Config, Subject: "certificate of site " + name, State: "refused", Cause: cert.problem})
		default:
			c.log.Info("a certificate was renewed", "site", name, "until", cert.pair.Leaf.NotAfter)
			c.events.Add(event.Event{Kind: event.Config, Subject: "certificate of site " + name, State: "renewed"})
		}
	}
	c.metrics.badCertificates.Set(float64(refused))
}

// watch reads files that have changed until ctx is done.
func (c *certificates) watch(ctx context.Context) {
	t := time.NewTicker(certificateEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.refresh()
		}
	}
}

// refresh looks at the files once. An Apply meanwhile wins.
func (c *certificates) refresh() {
	old := c.set.Load()
	next, err := c.prepare(old.sites)
	if err != nil { // cannot be: each site has one to go on with
		c.log.Error("certificates cannot be read", "error", err)
		return
	}
	if c.set.Load() == old {
		c.use(next)
	}
}
