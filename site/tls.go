package site

import (
	"fmt"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/topology"
)

// TLS is what the site's hosts show to clients over HTTPS. The zero TLS serves none.
type TLS struct {
	Certificate string // file in PEM: the certificate, then the intermediate ones
	Key         topology.Secret
}

// On reports whether the site is served over HTTPS.
func (t TLS) On() bool { return t.Certificate != "" }

func readTLS(v conf.Value, s *Site) TLS {
	if !v.Exists() {
		return TLS{}
	}
	if servedByUs(s) == "" {
		v.Fail("no host of this site is answered by our POPs", "remove `tls`: the targets show certificates of their own")
	}
	f := v.Fields("certificate", "key")
	t := TLS{Certificate: f.Need("certificate", "write `certificate: FILE`, a PEM file with the certificate and its chain").Word()}
	key := f.Need("key", "name where it is kept: {file: secrets/name} or {env: NAME}").Secret()
	t.Key = topology.Secret{File: key.File, Env: key.Env}
	return t
}

// String is for people and for comparing; it names where the key is kept, and never holds it.
func (t TLS) String() string {
	if !t.On() {
		return "none"
	}
	kept := "file " + t.Key.File
	if t.Key.Env != "" {
		kept = "env " + t.Key.Env
	}
	return fmt.Sprintf("certificate %s, key in %s", t.Certificate, kept)
}
