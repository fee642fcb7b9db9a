package conf

import (
	"fmt"
	"regexp"
	"strings"
)

var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// HostName reads a fully qualified host name (RFC 1123 §2.1) and returns it in lower case without the final dot; kind
// ("host", "origin") begins the message when it is none. At least two labels are required. It works on keys, too.
func HostName(v Value, kind string) string {
	name := strings.ToLower(strings.TrimSuffix(v.Text(), "."))
	if why := HostFault(name); why != "" {
		v.Fail(fmt.Sprintf("%s %q %s", kind, v.Text(), why), "write a full name such as www.shop.example")
		return ""
	}
	return name
}

// HostFault says why a name in lower case without final dot is not a fully qualified host name ("has one label only"),
// or "" if it is one.
func HostFault(name string) string {
	labels := strings.Split(name, ".")
	switch {
	case name == "":
		return "is empty"
	case len(name) > 253:
		return "is longer than 253 characters"
	case strings.Contains(name, "*"):
		return "is a pattern: each host has its own line"
	case strings.Contains(name, "/") || strings.Contains(name, ":"):
		return "is not a host name: no scheme, port or path belongs here"
	case len(labels) < 2:
		return "has one label only"
	case strings.Trim(labels[len(labels)-1], "0123456789") == "":
		return "is not a host name: its last label is a number"
	}
	for _, l := range labels {
		if !hostLabel.MatchString(l) {
			return fmt.Sprintf("is not a host name because of its label %q", l)
		}
	}
	return ""
}
