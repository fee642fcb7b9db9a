package keys

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var fleet = Fleet{Name: "example", Nodes: []Node{
	{Name: "ams1", Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8:a1::1")}},
	{Name: "nyc1", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.65")}, DNSNames: []string{"nyc1.example.net"}},
}}

// initialised makes a fleet's keys in a new folder.
func initialised(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := Init(dir, fleet, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func loaded(t *testing.T, dir, node string) *Material {
	t.Helper()
	m, err := Load(dir, node, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// serve answers TLS connections with a byte each until the test ends, and returns its address.
func serve(t *testing.T, conf *tls.Config) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c := tls.Server(conn, conf)
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if c.Handshake() == nil {
				_, _ = c.Write([]byte("+"))
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// call reads the server's byte; under TLS 1.3 a client learns only then that its certificate was refused.
func call(ctx context.Context, addr string, conf *tls.Config) (tls.ConnectionState, error) {
	d := tls.Dialer{Config: conf}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return conn.(*tls.Conn).ConnectionState(), err //nolint:forcetypeassert // tls.Dialer's documented type
}

func named(conf *tls.Config, server string) *tls.Config {
	c := conf.Clone()
	c.ServerName = server
	return c
}

func TestHandshake(t *testing.T) {
	dir := initialised(t)
	ams, nyc := loaded(t, dir, "ams1"), loaded(t, dir, "nyc1")
	stranger := loaded(t, initialised(t), "nyc1")
	addr := serve(t, ams.TLSServer)

	noCert := named(nyc.TLSClient, "ams1")
	noCert.Certificates = nil
	old := named(nyc.TLSClient, "ams1")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	impostor := named(nyc.TLSClient, "ams1")
	impostor.Certificates = stranger.TLSClient.Certificates
	tests := []struct {
		name string
		conf *tls.Config
		err  string // "" for success
	}{
		{"node to node, by name", named(nyc.TLSClient, "ams1"), ""},
		{"node to node, by address", named(nyc.TLSClient, "127.0.0.1"), ""},
		{"a client without a certificate", noCert, "certificate required"},
		{"a client of another fleet", impostor, "unknown certificate authority"},
		{"a server of another fleet", named(stranger.TLSClient, "ams1"), "certificate signed by unknown authority"},
		{"another node than wanted", named(nyc.TLSClient, "nyc1"), "not nyc1"},
		{"TLS 1.2", old, "protocol version not supported"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, err := call(t.Context(), addr, tt.conf)
			if tt.err == "" {
				if err != nil || state.Version != tls.VersionTLS13 {
					t.Errorf("got %v, version %x; want TLS 1.3", err, state.Version)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error: got %v, want %q", err, tt.err)
			}
		})
	}
}

// OpenSSL agrees: with a node's certificate the handshake holds, without one it does not.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := initialised(t)
	addr := serve(t, loaded(t, dir, "ams1").TLSServer)
	node := filepath.Join(dir, "nodes", "nyc1")
	base := []string{
		"s_client", "-connect", addr, "-tls1_3", "-verify_return_error", "-verify_hostname", "ams1",
		"-CAfile", filepath.Join(node, "ca.crt"), "-ign_eof",
	}
	withCert := append(append([]string(nil), base...), "-cert", filepath.Join(node, "node.crt"), "-key", filepath.Join(node, "node.key"))
	out, err := run(t.Context(), openssl, withCert...)
	if err != nil || !strings.Contains(out, "Verify return code: 0 (ok)") {
		t.Errorf("with a certificate: %v\n%s", err, out)
	}
	out, err = run(t.Context(), openssl, base...)
	if err == nil || !strings.Contains(out, "certificate required") {
		t.Errorf("without a certificate: got %v, want it refused\n%s", err, out)
	}
	out, err = run(t.Context(), openssl, "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", filepath.Join(dir, "ca.crt"), filepath.Join(node, "node.crt"))
	if err != nil {
		t.Errorf("openssl verify: %v\n%s", err, out)
	}
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := initialised(t)
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, rel)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s: mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"ca.crt", "ca.key", "gossip.key",
		"nodes/ams1/ca.crt", "nodes/ams1/gossip.key", "nodes/ams1/node.crt", "nodes/ams1/node.key",
		"nodes/nyc1/ca.crt", "nodes/nyc1/gossip.key", "nodes/nyc1/node.crt", "nodes/nyc1/node.key",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := initialised(t)
	before := loaded(t, dir, "ams1").GossipKey
	if err := Init(dir, fleet, time.Now()); !errors.Is(err, ErrExists) {
		t.Errorf("second init: got %v, want ErrExists", err)
	}
	if !bytes.Equal(before, loaded(t, dir, "ams1").GossipKey) {
		t.Error("the refused init has changed the gossip key")
	}
	if err := Replace(dir, Fleet{Nodes: fleet.Nodes[:1]}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before, loaded(t, dir, "ams1").GossipKey) {
		t.Error("replace has kept the gossip key")
	}
	if _, err := Load(dir, "nyc1", time.Now()); err == nil {
		t.Error("replace has kept a node that is no longer there")
	}
}

// A node that joins later is trusted by the others, which keep their keys.
func TestInitAddsANode(t *testing.T) {
	dir := initialised(t)
	ams := loaded(t, dir, "ams1")
	larger := Fleet{Nodes: append(fleet.Nodes[:2:2], Node{Name: "sin1"})}
	if err := Init(dir, larger, time.Now()); err != nil {
		t.Fatal(err)
	}
	sin := loaded(t, dir, "sin1")
	if !bytes.Equal(ams.GossipKey, sin.GossipKey) {
		t.Error("gossip keys differ")
	}
	if !bytes.Equal(ams.TLSClient.Certificates[0].Certificate[0], loaded(t, dir, "ams1").TLSClient.Certificates[0].Certificate[0]) {
		t.Error("the old node's certificate has changed")
	}
	if _, err := call(t.Context(), serve(t, ams.TLSServer), named(sin.TLSClient, "ams1")); err != nil {
		t.Errorf("new node to old node: %v", err)
	}
}

// While the fleet moves to a new authority, nodes that have the new one's certificates and nodes that have the old
// one's speak to each other, since all trust both; and a new gossip key is accepted before it is used.
func TestRotation(t *testing.T) {
	old, next := initialised(t), initialised(t)
	join := func(name string, first, second string) {
		t.Helper()
		a, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(first, name), append(a, b...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	join("nodes/ams1/ca.crt", old, next)
	join("nodes/ams1/gossip.key", old, next)
	join("nodes/nyc1/ca.crt", next, old)
	ams, nyc := loaded(t, old, "ams1"), loaded(t, next, "nyc1")
	if _, err := call(t.Context(), serve(t, ams.TLSServer), named(nyc.TLSClient, "ams1")); err != nil {
		t.Errorf("new authority to old one: %v", err)
	}
	if diff := cmp.Diff([][]byte{nyc.GossipKey}, ams.OldGossipKeys); diff != "" {
		t.Errorf("keys that only decrypt (-want +got):\n%s", diff)
	}
}

func TestLoadACopiedFolder(t *testing.T) {
	dir := initialised(t)
	alone := t.TempDir()
	if err := os.CopyFS(alone, os.DirFS(filepath.Join(dir, "nodes", "ams1"))); err != nil {
		t.Fatal(err)
	}
	m := loaded(t, alone, "ams1")
	if len(m.GossipKey) != 32 {
		t.Errorf("gossip key: got %d bytes, want 32", len(m.GossipKey))
	}
	if left := time.Until(m.NotAfter); left < NodeLife-time.Hour || left > NodeLife {
		t.Errorf("ends in %v, want %v", left, NodeLife)
	}
}

func TestLoadRefuses(t *testing.T) {
	now := time.Now()
	other := initialised(t)
	copyFrom := func(rel string) func(string) error {
		return func(dir string) error {
			text, err := os.ReadFile(filepath.Join(other, rel))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, rel), text, 0o600)
		}
	}
	write := func(rel, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, rel), []byte(text), 0o600) }
	}
	tests := []struct {
		name  string
		spoil func(dir string) error
		node  string
		now   time.Time
		err   string
	}{
		{"unknown node", nil, "lax1", now, "has no keys for this node; add them with"},
		{"no folder", os.RemoveAll, "ams1", now, "make them with `catchment keys init DIR`"},
		{"a path for a name", nil, "../ams1", now, "cannot be a node's name"},
		{"ended", nil, "ams1", now.Add(NodeLife + time.Hour), "ended at"},
		{"not begun", nil, "ams1", now.Add(-48 * time.Hour), "is this host's clock right?"},
		{"another node's certificate", func(dir string) error {
			return os.Rename(filepath.Join(dir, "nodes", "nyc1"), filepath.Join(dir, "nodes", "sin1"))
		}, "sin1", now, `is of node "nyc1"`},
		{"another fleet's authority", copyFrom("nodes/ams1/ca.crt"), "ams1", now, "not signed by the authority"},
		{"another's key", copyFrom("nodes/ams1/node.key"), "ams1", now, "private key does not match public key"},
		{"no gossip key", func(dir string) error { return os.Remove(filepath.Join(dir, "nodes/ams1/gossip.key")) }, "ams1", now, "gossip.key: no such file"},
		{"a short gossip key", write("nodes/ams1/gossip.key", "c2VjcmV0\n"), "ams1", now, "gossip.key:1: not a gossip key; want 32 bytes in base64"},
		{"an empty gossip key", write("nodes/ams1/gossip.key", "\n"), "ams1", now, "gossip.key:1: not a gossip key"},
		{"an empty authority", write("nodes/ams1/ca.crt", ""), "ams1", now, "it holds none in PEM form"},
		{"a damaged certificate", write("nodes/ams1/node.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "ams1", now, "node.crt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := initialised(t)
			if tt.spoil != nil {
				if err := tt.spoil(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dir, tt.node, tt.now)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error: got %v, want %q", err, tt.err)
			}
			if !strings.HasPrefix(err.Error(), fmt.Sprintf("keys of node %q: ", tt.node)) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q: want one line that names the node", err)
			}
			if strings.Contains(err.Error(), "c2VjcmV0") {
				t.Error("the error tells the secret")
			}
		})
	}
}

func TestInitRefusesNodes(t *testing.T) {
	tests := []struct {
		name  string
		nodes []Node
		err   string
	}{
		{"none", nil, "the fleet has no nodes"},
		{"twice", []Node{{Name: "a"}, {Name: "a"}}, `"a": the name is there twice`},
		{"a path", []Node{{Name: "../a"}}, `"../a": want a name of`},
		{"empty", []Node{{}}, `"": want a name of`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			if err := Init(dir, Fleet{Nodes: tt.nodes}, time.Now()); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error: got %v, want %q", err, tt.err)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("something was written all the same")
			}
		})
	}
}

func FuzzLoadFiles(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "keys")
	if err := Init(dir, fleet, time.Now()); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "ca.key", "gossip.key"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if certs, err := readCerts(path); err == nil && len(certs) == 0 {
			t.Error("no certificate and no error")
		}
		if secrets, err := readGossipKeys(path); err == nil && (len(secrets) == 0 || len(secrets[0]) != gossipKeySize) {
			t.Error("no gossip key and no error")
		}
	})
}
