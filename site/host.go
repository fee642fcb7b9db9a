package site

import (
	"fmt"
	"slices"
	"strings"

	"github.com/catchment-net/catchment/internal/conf"
	"github.com/catchment-net/catchment/topology"
)

// MaxNearest is how many candidates one answer may name.
const MaxNearest = 6

func readHost(e conf.Entry, t *topology.Topology) *Host {
	h := &Host{Name: conf.HostName(e.Key, "host"), Steer: Geo, TTL: DefaultTTL, Nearest: 1}
	f := e.Value.Fields("steer", "ttl", "pops", "nearest", "targets", "fallback", "fail")
	if v := f.Get("steer"); v.Exists() {
		h.Steer = Steer(v.Enum(string(Geo), string(Anycast), string(Weighted), string(Pinned)))
	}
	if h.Steer == Anycast {
		h.TTL = DefaultAnycastTTL
		refuseChoices(f, h)
		if t != nil && len(t.Anycast.Web) == 0 {
			f.Get("steer").Fail(fmt.Sprintf("host %q is steered by anycast but the topology has no web address", h.Name), "add `web: [192.0.2.80]` under `anycast` in topology.yaml")
		}
	}
	if v := f.Get("ttl"); v.Exists() {
		h.TTL = readTTL(v)
	}
	if v := f.Get("targets"); v.Exists() {
		h.Targets = readTargets(v, h)
	}
	if v := f.Get("pops"); v.Exists() {
		h.POPs = readPOPs(v, h, t)
	}
	if v := f.Get("nearest"); v.Exists() {
		if h.Nearest = v.Int(1, MaxNearest); h.Steer == Weighted || h.Steer == Pinned {
			v.Fail(fmt.Sprintf("host %q is %s, and none of its candidates is nearer than another", h.Name, h.Steer), "remove `nearest`, or steer by geo")
		}
	}
	if v := f.Get("fail"); v.Exists() {
		h.Closed = v.Enum("open", "closed") == "closed"
	}
	if v := f.Get("fallback"); v.Exists() {
		h.Fallback = readFallback(v, h, t)
	}
	return h
}

// refuseChoices reports what makes no sense where routing chooses.
func refuseChoices(f conf.Fields, h *Host) {
	for _, key := range []string{"targets", "pops", "nearest", "fallback", "fail"} {
		if v := f.Get(key); v.Exists() {
			v.Fail(fmt.Sprintf("host %q is steered by anycast and has %s", h.Name, key), fmt.Sprintf("remove `%s`, or steer by geo, weighted or pinned", key))
		}
	}
}

// readPOPs reads a list of names, or a map of names and weights.
func readPOPs(v conf.Value, h *Host, t *topology.Topology) []Share {
	if len(h.Targets) > 0 {
		v.Fail(fmt.Sprintf("host %q has pops and targets", h.Name), "keep one of the two: it is steered among our POPs or among targets of its own")
	}
	var list []Share
	add := func(at conf.Value, name string, weight int) {
		switch {
		case name == "":
		case slices.ContainsFunc(list, func(s Share) bool { return s.Name == name }):
			at.Fail(fmt.Sprintf("pop %q is there twice", name), "keep one of the two")
		case knownPOP(at, name, t):
			list = append(list, Share{name, weight})
		}
	}
	heavy := false
	if v.IsMap() {
		for _, e := range v.Entries() {
			w := e.Value.Int(0, 65535)
			heavy = heavy || w > 0
			add(e.Key, e.Key.Text(), w)
		}
	} else {
		for _, item := range v.Items() {
			heavy = true
			add(item, item.Word(), -1)
		}
	}
	if !heavy {
		v.Fail(fmt.Sprintf("host %q has no POP with a weight above 0", h.Name), "write `pops: [ams, nyc]` or `pops: {ams: 3, nyc: 1}`, or leave it out to use all")
	}
	return list
}

func knownPOP(at conf.Value, name string, t *topology.Topology) bool {
	if t == nil || t.POP(name) != nil {
		return true
	}
	var names []string
	for _, p := range t.POPs {
		names = append(names, p.Name)
	}
	at.Fail(fmt.Sprintf("pop %q is not in topology.yaml", name), oneOf(name, names))
	return false
}

// oneOf is the remedy for a name that is not known.
func oneOf(got string, known []string) string {
	if near := conf.Nearest(got, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known here: " + strings.Join(known, ", ")
}

// readFallback reads the names of those that stand in.
func readFallback(v conf.Value, h *Host, t *topology.Topology) []string {
	var list, targets []string
	for _, one := range h.Targets {
		targets = append(targets, one.Name)
	}
	for _, item := range v.Items() {
		name := item.Word()
		switch {
		case name == "":
		case slices.Contains(list, name):
			item.Fail(fmt.Sprintf("fallback %q is there twice", name), "keep one of the two")
		case len(h.Targets) > 0 && !slices.Contains(targets, name):
			item.Fail(fmt.Sprintf("fallback %q is no target of host %q", name, h.Name), oneOf(name, targets))
		case len(h.Targets) > 0 || knownPOP(item, name, t):
			list = append(list, name)
		}
	}
	left := func(name string) bool { return !slices.Contains(list, name) }
	some := len(h.POPs)+len(h.Targets) == 0 && (t == nil || len(list) < len(t.POPs)) ||
		slices.ContainsFunc(targets, left) || slices.ContainsFunc(h.POPs, func(s Share) bool { return left(s.Name) })
	if !some && h.Steer != Anycast {
		v.Fail(fmt.Sprintf("every candidate of host %q is a fallback", h.Name), "leave out of it those that are answered as a rule")
	}
	return list
}
