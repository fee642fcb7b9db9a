package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// ErrExists is returned by Init where there is nothing left to make.
var ErrExists = errors.New("all of these nodes have keys there already")

// Init makes a new authority, a gossip key and the keys of all nodes in dir, which it creates (mode 0700, files 0600).
// It overwrites nothing: where dir already holds an authority, that one gives keys to the nodes that have none, and if
// all have some, Init returns ErrExists.
func Init(dir string, f Fleet, now time.Time) error {
	if _, err := os.Stat(filepath.Join(dir, caCert)); errors.Is(err, fs.ErrNotExist) {
		return Replace(dir, f, now)
	} else if err != nil {
		return fmt.Errorf("make keys in %q: %w", dir, err)
	}
	var lacking []Node
	for _, n := range f.Nodes {
		if _, err := os.Stat(filepath.Join(dir, nodesDir, n.Name, nodeCert)); err != nil {
			lacking = append(lacking, n)
		}
	}
	if len(lacking) == 0 && len(f.Nodes) > 0 {
		return fmt.Errorf("make keys in %q: %w; remove the folder of a node to give it new ones", dir, ErrExists)
	}
	return Issue(dir, lacking, now)
}

// Replace is Init without its care: what was in dir is lost, and nodes with the old keys and nodes with the new ones no
// longer speak to each other.
func Replace(dir string, f Fleet, now time.Time) error {
	if err := checkNodes(f.Nodes); err != nil {
		return err
	}
	ca, err := newAuthority(f.Name, now)
	if err != nil {
		return err
	}
	secret := make([]byte, gossipKeySize)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("make the gossip key: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, nodesDir)); err != nil {
		return fmt.Errorf("remove old node keys: %w", err)
	}
	if err := writeFiles(dir, []file{
		{gossip, []byte(base64.StdEncoding.EncodeToString(secret) + "\n")},
		{caKey, ca.keyPEM},
		{caCert, ca.certPEM}, // the certificate last: it is what Init asks for
	}); err != nil {
		return err
	}
	return Issue(dir, f.Nodes, now)
}

// Issue gives nodes their keys from the authority that is in dir: new nodes, or new certificates for old ones. Other
// nodes' keys stay as they are.
func Issue(dir string, nodes []Node, now time.Time) error {
	if err := checkNodes(nodes); err != nil {
		return err
	}
	ca, err := loadAuthority(dir)
	if err != nil {
		return err
	}
	secrets, err := os.ReadFile(filepath.Join(dir, gossip))
	if err != nil {
		return fmt.Errorf("read the gossip key: %w", err)
	}
	for _, n := range nodes {
		cert, key, err := ca.issue(n, now)
		if err != nil {
			return err
		}
		if err := writeFiles(filepath.Join(dir, nodesDir, n.Name), []file{
			{caCert, ca.certPEM}, {gossip, secrets}, {nodeKey, key}, {nodeCert, cert},
		}); err != nil {
			return err
		}
	}
	return nil
}

// nodeName is what may be a node's name: it becomes a folder's name and a DNS name in the certificate.
var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

func checkNodes(nodes []Node) error {
	if len(nodes) == 0 {
		return errors.New("make keys: the fleet has no nodes")
	}
	seen := map[string]bool{}
	var errs []error
	for _, n := range nodes {
		switch {
		case !nodeName.MatchString(n.Name) || len(n.Name) > 253:
			errs = append(errs, fmt.Errorf("make keys of node %q: want a name of a-z, 0-9, '-' and '.', as in DNS", n.Name))
		case seen[n.Name]:
			errs = append(errs, fmt.Errorf("make keys of node %q: the name is there twice", n.Name))
		}
		seen[n.Name] = true
	}
	return errors.Join(errs...)
}

// authority signs the nodes' certificates.
type authority struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte // certPEM with all authorities of ca.crt; the first one signs
}

func newAuthority(fleet string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	name := pkix.Name{CommonName: "catchment fleet authority"}
	if fleet != "" {
		name.Organization = []string{fleet}
	}
	cert := &x509.Certificate{
		Subject: name, NotBefore: now.Add(-early), NotAfter: now.Add(CALife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, // it signs nodes, never further authorities
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a := &authority{cert: cert, key: key}
	if a.certPEM, err = a.sign(cert, &key.PublicKey); err != nil {
		return nil, fmt.Errorf("make the authority's certificate: %w", err)
	}
	if a.keyPEM, err = encodeKey(key); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *authority) issue(n Node, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the key of node %q: %w", n.Name, err)
	}
	cert := &x509.Certificate{
		Subject: pkix.Name{CommonName: n.Name}, NotBefore: now.Add(-early), NotAfter: now.Add(NodeLife),
		DNSNames: append([]string{n.Name}, n.DNSNames...), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, addr := range n.Addrs {
		cert.IPAddresses = append(cert.IPAddresses, net.IP(addr.Unmap().AsSlice()))
	}
	if cert.NotAfter.After(a.cert.NotAfter) {
		cert.NotAfter = a.cert.NotAfter
	}
	if certPEM, err = a.sign(cert, &key.PublicKey); err != nil {
		return nil, nil, fmt.Errorf("sign the certificate of node %q: %w", n.Name, err)
	}
	keyPEM, err = encodeKey(key)
	return certPEM, keyPEM, err
}

// sign makes cert, with a random serial number of 127 bits (RFC 5280 §4.1.2.2 allows 159).
func (a *authority) sign(cert *x509.Certificate, public *ecdsa.PublicKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	cert.SerialNumber = serial.Add(serial, big.NewInt(1)) // never zero
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, public, a.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// file is one file to write, by its name in a folder.
type file struct {
	name string
	text []byte
}

// writeFiles writes each file whole or not at all, readable by the owner alone.
func writeFiles(dir string, files []file) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder %q: %w", dir, err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := writeFile(path, f.text); err != nil {
			return fmt.Errorf("write %q: %w", path, err)
		}
	}
	return nil
}

func writeFile(path string, text []byte) (err error) {
	if old, rerr := os.ReadFile(path); rerr == nil && bytes.Equal(old, text) {
		return os.Chmod(path, 0o600)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
