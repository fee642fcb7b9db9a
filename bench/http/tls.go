//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The rows over TLS, and what tells the load which HTTP to speak.
var tlsRows = map[string]string{"https1": "h1", "https2": "h2"}

// overTLS reports whether a row is of TLS, for which only servers that end TLS with a cache behind it are asked.
func overTLS(row string) bool { return tlsRows[row] != "" }

// endsTLS are the servers that are set up with a certificate.
func endsTLS(name string) bool { return name == "catchment" || name == "nginx" }

// certify writes a certificate for the load's host name.
func (b *bench) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{"bench.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(b.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// loadTLS has this program, started again on the load's core, ask over TLS.
func (b *bench) loadTLS(ctx context.Context, s *server, row string) (result, error) {
	cmd := exec.CommandContext(ctx, "taskset", "-c", strconv.Itoa(loadCore), b.self, roleFlag, "tls", strings.Join([]string{ //nolint:gosec // the bench's own words
		s.secure.String(), tlsRows[row], strconv.Itoa(b.o.conns), b.o.shot.String(),
	}, ","))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return result{}, err
	}
	var r result
	if _, err := fmt.Sscan(string(out), &r.requests, &r.p50, &r.p99); err != nil {
		return result{}, fmt.Errorf("the load says %q: %w", out, err)
	}
	return r, nil
}

// tlsRole asks for 1 KiB over and over and prints how often, and the median and p99 of the times in nanoseconds: over n
// connections of HTTP/1.1, or n streams at a time of HTTP/2 over eight. args are ADDR,h1|h2,N,DURATION.
func tlsRole(args string) error {
	part := strings.Split(args, ",")
	if len(part) != 4 {
		return fmt.Errorf("%q: want ADDR,h1|h2,N,DURATION", args)
	}
	n, err := strconv.Atoi(part[2])
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(part[3])
	if err != nil {
		return err
	}
	transports := n
	if part[1] == "h2" {
		transports = 8
	}
	clients := make([]*http.Client, transports)
	for i := range clients {
		clients[i] = tlsClient(part[0], part[1] == "h2")
	}
	want := body("/1k")
	for range 2 { // https has keys of its own
		if err := askTLS(clients[0], part[1], len(want), false); err != nil {
			return err
		}
	}
	end := time.Now().Add(d)
	took := make([][]time.Duration, n)
	failed := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for time.Now().Before(end) && failed[i] == nil {
				start := time.Now()
				failed[i] = askTLS(clients[i%transports], part[1], len(want), true)
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	times := slices.Concat(took...)
	slices.Sort(times)
	_, err = fmt.Fprintln(os.Stdout, len(times), int64(times[len(times)/2]), int64(times[len(times)*99/100]))
	return err
}

func tlsClient(addr string, h2 bool) *http.Client {
	t := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true, ServerName: "bench.example"}, //nolint:gosec // the bench's own certificate
		ForceAttemptHTTP2:   h2,
		MaxIdleConnsPerHost: 1, DisableCompression: true,
	}
	if !h2 {
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return &http.Client{Transport: t}
}

func askTLS(c *http.Client, proto string, length int, cached bool) error {
	req, err := http.NewRequest(http.MethodGet, "https://bench.example/1k", http.NoBody) //nolint:noctx // as long as the process
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || got != int64(length) || (resp.ProtoMajor == 2) != (proto == "h2"):
		return fmt.Errorf("%s %s with %d bytes", resp.Proto, resp.Status, got)
	case cached && resp.Header.Get("Age") == "" && resp.Header.Get("Cache-Status") != "HIT":
		return fmt.Errorf("not from the cache: %v", resp.Header)
	}
	return nil
}
