// Package keys makes and loads what the nodes of a fleet prove themselves with: a certificate authority, one
// certificate a node, and the gossip key.
//
//	DIR/ca.crt  DIR/ca.key            the fleet's authority; ca.key stays with the operator
//	DIR/gossip.key                    32 bytes, base64, one key a line; the first one encrypts, all decrypt
//	DIR/nodes/NAME/{ca.crt, node.crt, node.key, gossip.key}
//	                                  all that one node needs: copy the folder to its machine
//
// Load takes both DIR and a copied node's folder. Rotation is adding before removing: ca.crt may hold several
// authorities and gossip.key several keys, so a fleet can trust the new one everywhere before anyone uses it.
package keys

import (
	"crypto/tls"
	"net/netip"
	"time"
)

// How long certificates hold. They begin an hour early, for clocks that are behind.
const (
	CALife   = 10 * 365 * 24 * time.Hour
	NodeLife = 2 * 365 * 24 * time.Hour
	early    = time.Hour
)

// gossipKeySize is the size of a gossip key in bytes: AES-256.
const gossipKeySize = 32

// The names of the files.
const (
	caCert   = "ca.crt"
	caKey    = "ca.key"
	gossip   = "gossip.key"
	nodeCert = "node.crt"
	nodeKey  = "node.key"
	nodesDir = "nodes"
)

// Fleet is who gets keys.
type Fleet struct {
	Name  string // goes into the authority's subject; may be empty
	Nodes []Node
}

// Node is one node's identity. The certificate is valid for its name, its addresses and its DNS names, as a server and
// as a client.
type Node struct {
	Name     string       // a lower-case DNS label, or several with dots
	Addrs    []netip.Addr // unicast addresses; never an anycast one, which would prove nothing
	DNSNames []string     // further names; may be empty
}

// Material is one node's keys, ready for use. It is never altered; clone a tls.Config before changing it.
type Material struct {
	// TLSServer demands TLS 1.3 and a certificate of the fleet from every client (RFC 8446 §4.3.2).
	TLSServer *tls.Config
	// TLSClient shows our certificate and trusts only the fleet's authority. Set ServerName to the wanted node's name
	// on a clone, or dial its address.
	TLSClient *tls.Config
	// GossipKey encrypts, 32 bytes. OldGossipKeys, and GossipKey, decrypt.
	GossipKey     []byte
	OldGossipKeys [][]byte
	// NotAfter is when the node's certificate or its authority ends, whichever comes first.
	NotAfter time.Time
}
