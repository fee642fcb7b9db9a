package popd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/catchment-net/catchment/internal/simnet"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
	"github.com/catchment-net/catchment/topology"
)

// issue writes a certificate for these names, which only itself vouches for, and its key.
func issue(t *testing.T, dir string, serial int64, names ...string) ([]site.TLS, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return []site.TLS{{
		Certificate: write(names[0]+".pem", "CERTIFICATE", der),
		Key:         topology.Secret{File: write(names[0]+".key", "PRIVATE KEY", private)},
	}}, leaf
}

const secure = "192.0.2.80:443"

// over asks the anycast address over TLS for host's path, naming server in the hello.
func (w *world) over(server, host, path string, http2 bool, roots ...*x509.Certificate) (*http.Response, string, error) {
	w.t.Helper()
	at, ok := w.net.find(secure)
	if !ok {
		w.t.Fatal("nothing listens on port 443")
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: server}, ForceAttemptHTTP2: http2}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://"+at+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Host = host
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestSitesAreServedOverTLS(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		answer("over "+r.Header.Get("X-Forwarded-Proto"), "Cache-Control: max-age=60")(rw, r)
	})
	dir := t.TempDir()
	var shop, blog *x509.Certificate
	w.site.TLS, shop = issue(t, dir, 1, "www.shop.example")
	other := &site.Site{Name: "blog", Hosts: []*site.Host{{Name: "www.blog.example"}}, Origins: w.site.Origins}
	other.TLS, blog = issue(t, dir, 2, "www.blog.example")
	w.others = []*site.Site{other}
	w.shield()
	for _, tt := range []struct {
		server, host string
		http2        bool
		status       int
		proto        string
	}{
		{"www.shop.example", "www.shop.example", false, 200, "HTTP/1.1"},
		{"www.shop.example", "www.shop.example", false, 200, "HTTP/1.1"}, // a hit
		{"www.shop.example", "www.shop.example", true, 200, "HTTP/2.0"},
		{"www.blog.example", "www.blog.example", true, 200, "HTTP/2.0"},
		{"www.blog.example", "www.shop.example", true, 421, "HTTP/2.0"},
		{"www.blog.example", "www.shop.example", false, 421, "HTTP/1.1"},
	} {
		resp, body, err := w.over(tt.server, tt.host, "/", tt.http2, shop, blog) //nolint:bodyclose // read and closed there
		if err != nil || resp.StatusCode != tt.status || resp.Proto != tt.proto || tt.status == 200 && body != "over https" {
			t.Errorf("%+v: %v, %q, %v", tt, resp, body, err)
		}
	}
	w.wantAsked(2)
	if _, _, err := w.over("www.else.example", "www.else.example", "/", false, shop); err == nil || !strings.Contains(err.Error(), "unrecognized name") { //nolint:bodyclose // there is none
		t.Errorf("a host that nobody has: %v, want the alert unrecognized name", err)
	}
	if got := w.get("/").body; got != "over http" {
		t.Errorf("port 80 answers %q: one key for both schemes", got)
	}
}

// TestRenewedCertificateIsTakenUp while a file that cannot be used leaves the one before, and raises an alarm.
func TestRenewedCertificateIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := &site.Site{Name: "shop", Hosts: []*site.Host{{Name: "www.shop.example"}}, Origins: []site.Origin{{URL: mustURL(t, "http://127.0.0.1:1"), Weight: 1}}}
		s.TLS, _ = issue(t, dir, 1, "www.shop.example")
		reg := prometheus.NewRegistry()
		network, server := simnet.New(1, simnet.Link{}), netip.MustParseAddr("192.0.2.80")
		client := network.Host(netip.MustParseAddr("198.51.100.1"))
		ready := make(chan struct{})
		srv, err := popd.New(popd.Options{Node: "ams1", Net: network.Host(server), Ready: func([]string) { close(ready) }, Public: []string{"192.0.2.80:80"}, Secure: []string{secure}, Insecure: true, Registerer: reg})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Apply(popd.Config{Sites: []*site.Site{s}}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- srv.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		}()
		<-ready
		serial := func() int64 {
			conn, err := client.DialContext(ctx, "tcp", secure)
			if err != nil {
				t.Fatal(err)
			}
			c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "www.shop.example"}) //nolint:gosec // it is looked at
			defer c.Close()
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		}
		refused := func(want float64) {
			t.Helper()
			if got := gauge(t, reg, "popd_certificates_refused"); got != want {
				t.Errorf("%v certificates count as refused, want %v", got, want)
			}
		}
		if got := serial(); got != 1 {
			t.Fatalf("serial %d, want 1", got)
		}
		if err := os.WriteFile(s.TLS[0].Certificate, []byte("nonsense"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		if got := serial(); got != 1 {
			t.Errorf("serial %d after the file broke, want 1 still", got)
		}
		refused(1)
		issue(t, dir, 2, "www.shop.example")
		time.Sleep(11 * time.Second)
		if got := serial(); got != 2 {
			t.Errorf("serial %d after the renewal, want 2", got)
		}
		refused(0)
	})
}

// gauge reads a metric without labels.
func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %q", name)
	return 0
}

func TestCertificateThatCannotBeUsedIsRefused(t *testing.T) {
	dir := t.TempDir()
	good, _ := issue(t, dir, 1, "www.shop.example")
	other, _ := issue(t, dir, 1, "www.blog.example")
	for name, tt := range map[string]struct {
		tls  []site.TLS
		want string
	}{
		"no such file":  {[]site.TLS{{Certificate: dir + "/none.pem", Key: good[0].Key}}, "read certificate"},
		"no such key":   {[]site.TLS{{Certificate: good[0].Certificate, Key: topology.Secret{File: dir + "/none"}}}, "read the certificate's key"},
		"another's key": {[]site.TLS{{Certificate: good[0].Certificate, Key: other[0].Key}}, "private key does not match"},
		"another host":  {other, "no certificate names host"},
	} {
		srv, err := popd.New(popd.Options{Node: "ams1", Public: []string{"127.0.0.1:0"}, Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		s := &site.Site{Name: "shop", Hosts: []*site.Host{{Name: "www.shop.example"}}, TLS: tt.tls}
		if err := srv.Apply(popd.Config{Sites: []*site.Site{s}}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
