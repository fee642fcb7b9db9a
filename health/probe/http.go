package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
	"github.com/catchment-net/catchment/topology"
)

// maxBody is how much of an answer's body is read, in bytes; what follows is not looked at.
const maxBody = 64 << 10

// userAgent marks probes in the access logs of those that are probed.
const userAgent = "catchment-probe"

// HTTP asks a URL, http or https, and wants a status of 2xx and the answer's body. If the URL's path is
// topology.HealthPath, the body must be the JSON of our own popd and must not say that it is down.
func HTTP(rawURL string) Target { return HTTPHost(rawURL, "") }

// HTTPHost is HTTP for a server that answers by host name: the request names host, and so must the certificate, which has
// to be one that clients of this machine would trust; the connection goes to rawURL.
func HTTPHost(rawURL, host string) Target { return HTTPSHost(rawURL, host, nil) }

// HTTPSHost is HTTPHost with the roots of trust; nil means the machine's.
func HTTPSHost(rawURL, host string, roots *x509.CertPool) Target {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return broken(rawURL, fmt.Errorf("probe URL: %w", err))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return broken(rawURL, fmt.Errorf("probe URL %q: want http://HOST[:PORT]/PATH or https://", rawURL))
	}
	q := httpProbe{address: u.Host, host: host, url: u}
	if host == "" {
		q.host = u.Host
	}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		q.tls = &tls.Config{ServerName: (&url.URL{Host: q.host}).Hostname(), RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if u.Port() == "" {
		q.address = net.JoinHostPort(u.Hostname(), port)
	}
	return Target{name: rawURL, ask: q.ask}
}

// broken is a target whose every verdict is the mistake in it.
func broken(name string, err error) Target {
	return Target{name: name, ask: func(context.Context, underlay.Net, time.Duration) error { return err }}
}

type httpProbe struct {
	address string
	host    string
	url     *url.URL
	tls     *tls.Config // nil: plain
}

// ask sends one request on a connection of its own:
//
//	probe                              popd
//	  │── GET … Connection: close ─────►│
//	  │◄── 200 {"state": "up"} ─────────│  read whole, then closed
func (q httpProbe) ask(ctx context.Context, network underlay.Net, _ time.Duration) error {
	conn, err := dial(ctx, network, "tcp", q.address)
	if err != nil {
		return err
	}
	defer closing(ctx, conn)()
	if q.tls != nil {
		secure := tls.Client(conn, q.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secure
	}
	req := &http.Request{
		Method: http.MethodGet, URL: q.url, Host: q.host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {userAgent}}, Close: true,
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return err
	}
	if q.url.Path == topology.HealthPath {
		return ownHealth(resp, body)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		if name := resp.Header.Get(SharedField); name != "" {
			return sharedError(name)
		}
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// SharedField is the field by which an answer that says that something fails names what: an origin, a database, whatever
// all POPs depend on alike. The service itself lives then, and nothing is gained by sending its clients elsewhere.
const SharedField = "Catchment-Shared"

// sharedError is the name in a SharedField.
type sharedError string

func (e sharedError) Error() string { return string(e) + " fails" }

// ownHealth reads the answer of our own popd, which says why it is down.
func ownHealth(resp *http.Response, body []byte) error {
	var said struct {
		State string `json:"state"`
		Cause string `json:"cause"`
	}
	err := json.Unmarshal(body, &said)
	switch {
	case err == nil && said.State == "down" && said.Cause != "":
		return fmt.Errorf("it says that it is down: %s", said.Cause)
	case err == nil && said.State == "down":
		return errors.New("it says that it is down")
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return fmt.Errorf("status %d", resp.StatusCode)
	case err != nil:
		return fmt.Errorf("the answer is not popd's: %w", err)
	case said.State == "":
		return errors.New("the answer is not popd's: it names no state")
	}
	return nil
}

// closing makes the end of ctx the end of conn, so that no read outlasts the probe. The returned function closes conn
// and must be called.
func closing(ctx context.Context, conn net.Conn) func() {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return func() {
		stop()
		conn.Close()
	}
}
