package site

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/catchment-net/catchment/internal/conf"
)

// maxOrigins bounds the origins of one site.
const maxOrigins = 64

// readOrigins reads one URL, or a list of URLs or {url, weight, backup}.
func readOrigins(v conf.Value, s *Site) []Origin {
	items := v.Items()
	if v.Exists() && len(items) == 0 {
		v.Fail("no origin", "write `origin: http://origin.shop.example`")
	}
	if len(items) > maxOrigins {
		v.Fail(fmt.Sprintf("%d origins", len(items)), fmt.Sprintf("at most %d are supported", maxOrigins))
		items = items[:maxOrigins]
	}
	var list []Origin
	primary := false
	for _, item := range items {
		o := Origin{Weight: 1}
		at := item
		if item.IsMap() {
			f := item.Fields("url", "weight", "backup")
			at = f.Need("url", "write `url: http://origin.shop.example`")
			if w := f.Get("weight"); w.Exists() {
				o.Weight = w.Int(1, 65535)
			}
			o.Backup = f.Get("backup").Bool()
		}
		o.URL = readURL(at, s)
		primary = primary || !o.Backup
		for _, other := range list {
			if o.URL != nil && other.URL != nil && *other.URL == *o.URL {
				at.Fail(fmt.Sprintf("origin %q is there twice", o.URL), "keep one, with a weight")
			}
		}
		list = append(list, o)
	}
	if len(list) > 0 && !primary {
		v.Fail("every origin is a backup", "leave `backup` away from at least one")
	}
	return list
}

// readURL reads scheme and host of an origin.
func readURL(v conf.Value, s *Site) *url.URL {
	text := v.Word()
	if text == "" {
		return nil
	}
	const fix = "write http:// or https:// and a host: http://origin.shop.example"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		v.Fail(fmt.Sprintf("origin %q is not a URL", text), fix)
		return nil
	case !strings.Contains(text, "://"):
		v.Fail(fmt.Sprintf("origin %q has no scheme", text), fmt.Sprintf("did you mean http://%s?", strings.TrimPrefix(text, "//")))
		return nil
	case u.Scheme != "http" && u.Scheme != "https":
		v.Fail(fmt.Sprintf("origin %q has the scheme %q", text, u.Scheme), "write http:// or https://")
		return nil
	case u.User != nil:
		v.Mask(u.User.String())
		v.Fail("origin has a user name or password in its URL", "remove them: secrets are named, never written")
		return nil
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || (u.Path != "" && u.Path != "/"):
		v.Fail(fmt.Sprintf("origin %q has a path or query", text), fmt.Sprintf("write only %s://%s: the client's path is asked for", u.Scheme, u.Host))
		return nil
	}
	if !portOK(u) {
		v.Fail(fmt.Sprintf("origin %q has the port %q", text, u.Port()), "write one from 1 to 65535, or leave it out")
		return nil
	}
	if why := hostFault(u.Hostname()); why != "" {
		v.Fail(fmt.Sprintf("origin %q %s", text, why), fix)
		return nil
	}
	u.Path, u.Host = "", strings.ToLower(u.Host)
	if h := s.Host(strings.TrimSuffix(u.Hostname(), ".")); h != nil && len(h.Targets) == 0 {
		v.Fail(fmt.Sprintf("origin %q is a host of this site that our POPs answer", u), "name the server behind it: requests would come back to us for ever")
	}
	return u
}

func portOK(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && n > 0
}

func hostFault(host string) string {
	if host == "" {
		return "has no host"
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return "has an address with a zone"
		}
		return ""
	}
	if why := conf.HostFault(strings.ToLower(strings.TrimSuffix(host, "."))); why != "" {
		return "has a host that " + why
	}
	return ""
}

// addressMark stands for each address of a target in its probe.
const addressMark = "{address}"

// readProbe reads a target's probe URL.
func readProbe(v conf.Value, t *Target) string {
	text := v.Word()
	if text == "" {
		return ""
	}
	u, err := url.Parse(strings.ReplaceAll(text, addressMark, "192.0.2.1"))
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || !portOK(u):
		v.Fail(fmt.Sprintf("probe %q is not an http or https URL", text), "write https://{address}/health")
		return ""
	case u.User != nil:
		v.Mask(u.User.String())
		v.Fail("probe has a user name or password in its URL", "remove them: let the health page be open to us")
		return ""
	case len(t.Addresses) > 0 && !strings.Contains(text, addressMark):
		v.Fail(fmt.Sprintf("probe %q asks one place for every address of target %q", text, t.Name), "write {address} for its host: https://{address}/health")
		return ""
	case t.CNAME != "" && strings.Contains(text, addressMark):
		v.Fail(fmt.Sprintf("probe %q names an address, and target %q has a name", text, t.Name), fmt.Sprintf("write https://%s/health", t.CNAME))
		return ""
	}
	return text
}
