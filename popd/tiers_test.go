package popd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/catchment-net/catchment/health"
	"github.com/catchment-net/catchment/popd"
	"github.com/catchment-net/catchment/site"
)

// The unicast addresses of the POPs of newWorld.
const (
	ams = "203.0.113.1:80"
	nyc = "203.0.113.33:80"
)

// fleetTLS makes a CA and gives every node a certificate in its name.
func fleetTLS(t *testing.T) func(o *popd.Options) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test fleet"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return func(o *popd.Options) {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: o.Node}, DNSNames: []string{o.Node},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, root, caKey.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		pair := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: caKey}}
		o.Insecure = false
		o.ServerTLS = &tls.Config{Certificates: pair, ClientCAs: pool}
		o.ClientTLS = &tls.Config{Certificates: pair, RootCAs: pool}
	}
}

func TestEdgeAsksTheShieldUnderMutualTLS(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.HasPrefix(name, "Catchment-") {
				t.Errorf("the origin sees %s", name)
			}
		}
		if got, want := r.Header.Get("Cdn-Loop"), "catchment-as64500; node=nyc1, catchment-as64500; node=ams1"; got != want {
			t.Errorf("CDN-Loop at the origin %q, want %q", got, want)
		}
		answer("hello", "Cache-Control: max-age=60")(rw, r)
	})
	keys := fleetTLS(t)
	w.node("ams1", keys)
	w.node("nyc1", keys)

	r, err := w.do("GET", nyc, "/a")
	if err != nil || r.body != "hello" {
		t.Fatalf("%+v, %v", r, err)
	}
	all := strings.Join(r.header["Cache-Status"], ", ")
	if !strings.HasPrefix(all, "ams1; fwd=uri-miss; fwd-status=200; stored") || !strings.Contains(all, "detail=shield, nyc1; fwd=uri-miss") {
		t.Errorf("Cache-Status %q", all)
	}
	if r, _ = w.do("GET", nyc, "/a"); !strings.HasPrefix(r.last(), "nyc1; hit") {
		t.Errorf("second at the edge: %q", r.last())
	}
	if r, _ = w.do("GET", ams, "/a"); !strings.HasPrefix(r.last(), "ams1; hit") {
		t.Errorf("at the shield: %q", r.last())
	}
	w.wantAsked(1)

	inside, _ := w.net.find("203.0.113.1:7950")
	c, err := tls.Dial("tcp", inside, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the client without keys of this test
	if err == nil {
		// In TLS 1.3 the refusal of the client's missing certificate comes with the first read.
		_, _ = io.WriteString(c, "GET /a HTTP/1.1\r\nHost: www.shop.example\r\n\r\n")
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if err == nil || strings.Contains(err.Error(), "EOF") {
		t.Errorf("a client without a certificate: %v, want a TLS alert", err)
	}
}

// TestShieldThatIsDownOrDeadIsPassedBy: by the view at once, by a refused connection, and by silence.
func TestShieldThatIsDownOrDeadIsPassedBy(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	edge := w.node("nyc1", func(o *popd.Options) { o.Silence = 50 * time.Millisecond })
	check := func(what, path string) {
		t.Helper()
		r, err := w.do("GET", nyc, path)
		if err != nil || r.body != "hello" || strings.Contains(strings.Join(r.header["Cache-Status"], ","), "ams1") {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	check("unreachable", "/1")

	frozen, err := net.Listen("tcp", "127.0.0.1:0") // takes connections in the kernel and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	w.net.set("203.0.113.1:7950", frozen.Addr().String())
	check("frozen", "/2")

	view := &health.View{POPs: map[string]health.POPView{"ams": {Services: map[health.Service]health.ServiceView{health.Web: {State: health.Down}}}}}
	edge.SetView(view)
	dialled := make(chan struct{})
	go func() {
		defer close(dialled)
		for {
			c, err := frozen.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	check("down in the view", "/3")
	frozen.Close()
	<-dialled
}

// TestSlowOriginBehindALivingShield: signs of life keep the edge waiting far beyond the silence that it tolerates.
func TestSlowOriginBehindALivingShield(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(1200 * time.Millisecond) // the origin's own slowness; nothing is looked at afterwards
		answer("hello", "Cache-Control: max-age=60")(rw, r)
	})
	quick := func(o *popd.Options) { o.Silence = 600 * time.Millisecond }
	w.node("ams1", quick)
	w.node("nyc1", quick)
	r, err := w.do("GET", nyc, "/")
	if err != nil || r.body != "hello" || !strings.Contains(strings.Join(r.header["Cache-Status"], ","), "ams1") {
		t.Errorf("%+v, %v", r, err)
	}
	w.wantAsked(1)
}

func TestNextOriginAndGatewayErrors(t *testing.T) {
	dead := site.Origin{URL: mustURL(t, "http://dead.example"), Weight: 1}
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60"))
	backup := w.site.Origins[0]
	backup.Backup = true
	w.site.Origins = []site.Origin{backup, dead}
	w.shield()
	if r := w.get("/"); r.body != "hello" {
		t.Errorf("with a backup: %d %q", r.status, r.body)
	}
	w = newWorld(t, answer("hello"))
	w.site.Origins = []site.Origin{dead}
	w.shield()
	if r := w.get("/other"); r.status != http.StatusBadGateway || !strings.HasPrefix(r.last(), "ams1; detail=upstream") {
		t.Errorf("without: %d, %q", r.status, r.last())
	}
	// A dead origin is the same everywhere: no POP is ill for it.
	if r := w.get("/.well-known/catchment/health"); r.status != http.StatusOK || !strings.Contains(r.body, `"up"`) {
		t.Errorf("health with a dead origin: %d %q", r.status, r.body)
	}
}

func TestHealthAndDrain(t *testing.T) {
	w := newWorld(t, answer("hello"))
	s := w.shield()
	state := func() (h popd.Health) {
		r := w.get("/.well-known/catchment/health", "Host: whatever.example")
		if err := json.Unmarshal([]byte(r.body), &h); err != nil || r.status != 200 {
			t.Fatalf("health: %d %q, %v", r.status, r.body, err)
		}
		return h
	}
	if h := state(); h != (popd.Health{Node: "ams1", POP: "ams", State: "up"}) {
		t.Errorf("health %+v", h)
	}
	if at := s.LastRequest(); !at.IsZero() {
		t.Errorf("LastRequest is %v after nothing but a probe", at)
	}
	if _, err := w.do("GET", ams, "/"); err != nil {
		t.Fatal(err)
	}
	if at := s.LastRequest(); !at.IsZero() {
		t.Errorf("LastRequest is %v after nothing on an anycast address", at)
	}
	if r := w.get("/"); r.closes {
		t.Error("a connection is closed without a drain")
	}
	if s.LastRequest().IsZero() {
		t.Error("LastRequest is zero after a client's request")
	}

	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Drain(ctx) }()
	eventually(t, "health says draining", func() bool { h := state(); return h.State == "draining" })
	if r := w.get("/"); r.status != 200 || !r.closes {
		t.Errorf("while draining: %d, closes %v", r.status, r.closes)
	}
	if err := <-done; err != nil {
		t.Errorf("drain: %v", err)
	}
	s.Undrain()
	if h := state(); h.State != "up" {
		t.Errorf("undrained: %+v", h)
	}
}

func TestStandalone(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		answer("host "+r.Host, "Cache-Control: max-age=60")(rw, r)
	})
	c, err := popd.Standalone("http://origin.shop.example")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s, err := popd.New(popd.Options{Node: "box", Net: w.net, Public: []string{web}, Ready: func([]string) { close(ready) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run before Apply: no error")
	}
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-ready
	if r := w.get("/", "Host: any.example:8080"); r.body != "host origin.shop.example" {
		t.Errorf("got %q", r.body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"origin.example", "ftp://origin.example", "http://", "http://o.example/path", "http://o\x7f"} {
		if _, err := popd.Standalone(bad); err == nil {
			t.Errorf("origin %q: no error", bad)
		}
	}
}

func TestPortInUseNamesTheAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := popd.New(popd.Options{Node: "box", Public: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := popd.Standalone("http://origin.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(c); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Run: %v, want an error naming %s", err, l.Addr())
	}
}

// TestShieldWithAWrongClock: what a shield's wall clock says must not make its answers look old, or young, at the edge:
// between our tiers ages are counted, not compared.
func TestShieldWithAWrongClock(t *testing.T) {
	for _, wrong := range []time.Duration{-time.Hour, time.Hour} {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.Header()["Date"] = nil // the shield dates the answer, by its own clock
			answer("hello", "Cache-Control: max-age=600")(rw, r)
		})
		w.node("ams1", func(o *popd.Options) { o.Now = func() time.Time { return w.clock.now().Add(wrong) } })
		w.node("nyc1", nil)
		if r, err := w.do("GET", ams, "/"); err != nil || r.status != 200 {
			t.Fatalf("shield: %+v, %v", r, err)
		}
		w.clock.forward(100 * time.Second)
		for _, want := range []string{"fwd=uri-miss", "hit"} {
			r := w.get("/")
			if age := r.header.Get("Age"); age != "100" && age != "101" || !strings.Contains(r.last(), want) {
				t.Errorf("shield's clock %v ahead: Age %q, %q; want 100 s and %s", wrong, age, r.last(), want)
			}
			if v, ok := r.header["Catchment-Age"]; ok {
				t.Errorf("the client sees what tiers tell each other: %q", v)
			}
		}
		w.wantAsked(1)
	}
}

// TestAgeOfTheTiersIsNotBelievedFromOrigins: only another node may say how old an answer is by our own count.
func TestAgeOfTheTiersIsNotBelievedFromOrigins(t *testing.T) {
	w := newWorld(t, answer("hello", "Cache-Control: max-age=60", "Catchment-Age: 0", "Age: 50"))
	w.shield()
	w.get("/")
	w.clock.forward(20 * time.Second)
	w.get("/")
	w.wantAsked(2)
}
