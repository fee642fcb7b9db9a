package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Load reads the keys of a node from dir, which is the whole fleet's folder or that node's own. It refuses what could
// not work later: a certificate of another node, not of this authority, not yet or no longer valid at now, a key that
// does not fit.
func Load(dir, node string, now time.Time) (*Material, error) {
	m, err := load(dir, node, now)
	if err != nil {
		return nil, fmt.Errorf("keys of node %q: %w", node, err)
	}
	return m, nil
}

func load(dir, node string, now time.Time) (*Material, error) {
	if !nodeName.MatchString(node) {
		return nil, errors.New("this cannot be a node's name")
	}
	dir, err := nodeFolder(dir, node)
	if err != nil {
		return nil, err
	}
	authorities, err := readCerts(filepath.Join(dir, caCert))
	if err != nil {
		return nil, err
	}
	own, err := readPair(dir)
	if err != nil {
		return nil, err
	}
	m := &Material{}
	if m.NotAfter, err = checkCert(own.Leaf, authorities, node, filepath.Join(dir, nodeCert), now); err != nil {
		return nil, err
	}
	secrets, err := readGossipKeys(filepath.Join(dir, gossip))
	if err != nil {
		return nil, err
	}
	m.GossipKey, m.OldGossipKeys = secrets[0], secrets[1:]
	pool := x509.NewCertPool()
	for _, a := range authorities {
		pool.AddCert(a)
	}
	m.TLSServer = &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}
	m.TLSClient = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, RootCAs: pool}
	return m, nil
}

// nodeFolder finds the node's folder: DIR/nodes/NAME, or DIR itself where it was copied alone.
func nodeFolder(dir, node string) (string, error) {
	inFleet := filepath.Join(dir, nodesDir, node)
	for _, d := range []string{inFleet, dir} {
		_, err := os.Stat(filepath.Join(d, nodeCert))
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, caKey)); err == nil {
		return "", fmt.Errorf("the fleet in %q has no keys for this node; add them with `catchment keys init %s`", dir, dir)
	}
	return "", fmt.Errorf("there is no %q and no %q; make them with `catchment keys init DIR`", filepath.Join(inFleet, nodeCert), filepath.Join(dir, nodeCert))
}

// checkCert returns when the chain ends, or why the certificate is not this node's at now.
func checkCert(leaf *x509.Certificate, authorities []*x509.Certificate, node, path string, now time.Time) (time.Time, error) {
	if !slices.Contains(leaf.DNSNames, node) {
		return time.Time{}, fmt.Errorf("certificate %q is of node %q; give each node its own folder", path, leaf.Subject.CommonName)
	}
	issuer, err := issuerOf(leaf, authorities)
	if err != nil {
		return time.Time{}, fmt.Errorf("certificate %q: %w; the folder mixes the keys of two fleets, make it anew", path, err)
	}
	for _, c := range []*x509.Certificate{leaf, issuer} {
		switch {
		case now.Before(c.NotBefore):
			return time.Time{}, fmt.Errorf("certificate %q begins at %s; is this host's clock right?", path, c.NotBefore.UTC().Format(time.RFC3339))
		case now.After(c.NotAfter):
			return time.Time{}, fmt.Errorf("certificate %q ended at %s; remove its folder and run `catchment keys init DIR` again", path, c.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if issuer.NotAfter.Before(leaf.NotAfter) {
		return issuer.NotAfter, nil
	}
	return leaf.NotAfter, nil
}

func issuerOf(leaf *x509.Certificate, authorities []*x509.Certificate) (*x509.Certificate, error) {
	for _, a := range authorities {
		if leaf.CheckSignatureFrom(a) == nil {
			return a, nil
		}
	}
	return nil, fmt.Errorf("it is not signed by the authority in %q", caCert)
}

func readPair(dir string) (tls.Certificate, error) {
	certPath, keyPath := filepath.Join(dir, nodeCert), filepath.Join(dir, nodeKey)
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return pair, fmt.Errorf("read certificate %q and its key %q: %w", certPath, keyPath, err)
	}
	if pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	return pair, err
}

func readCerts(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate %q: %w", path, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("read certificate %q: it holds none in PEM form", path)
	}
	return certs, nil
}

// readGossipKeys reads one key a line; it never puts a key into an error.
func readGossipKeys(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var secrets [][]byte
	for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		secret, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line)))
		if err != nil || len(secret) != gossipKeySize {
			return nil, fmt.Errorf("%s:%d: not a gossip key; want %d bytes in base64", path, i+1, gossipKeySize)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// loadAuthority reads the authority that Issue signs with: the first certificate of ca.crt, and its key.
func loadAuthority(dir string) (*authority, error) {
	certPath, keyPath := filepath.Join(dir, caCert), filepath.Join(dir, caKey)
	certs, err := readCerts(certPath)
	if err != nil {
		return nil, fmt.Errorf("load the fleet's authority: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(certPath, keyPath)
	if err != nil {
		return nil, fmt.Errorf("load the fleet's authority %q and its key %q: %w", certPath, keyPath, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("load the fleet's authority: key %q is a %T; want one of ECDSA", keyPath, pair.PrivateKey)
	}
	text, err := os.ReadFile(certPath)
	if err != nil {
		return nil, fmt.Errorf("load the fleet's authority: %w", err)
	}
	return &authority{cert: certs[0], key: key, certPEM: text}, nil
}
