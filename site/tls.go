package site

import (
	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/topology"
)

// TLS is one certificate that clients are shown over HTTPS, for those hosts of the site that it names. Several may name the
// same host: the first that the client can use is shown.
type TLS struct {
	Certificate string // file in PEM: the certificate, then the intermediate ones
	Key         topology.Secret
}

func readTLS(v conf.Value, s *Site) []TLS {
	if !v.Exists() {
		return nil
	}
	if servedByUs(s) == "" {
		v.Fail("no host of this site is answered by our POPs", "remove `tls`: the targets show certificates of their own")
	}
	items := v.Items()
	if len(items) == 0 {
		v.Fail("no certificate", "write `tls: {certificate: FILE, key: {file: FILE}}`, or leave `tls` out")
	}
	var list []TLS
	for _, item := range items {
		f := item.Fields("certificate", "key")
		t := TLS{Certificate: f.Need("certificate", "write `certificate: FILE`, a PEM file with the certificate and its chain").Word()}
		key := f.Need("key", "name where it is kept: {file: secrets/name} or {env: NAME}").Secret()
		t.Key = topology.Secret{File: key.File, Env: key.Env}
		list = append(list, t)
	}
	return list
}
