package site

import (
	"fmt"
	"strings"

	"github.com/catchment-net/catchment/internal/conf"
)

// maxRules and maxGlobs bound what every request is compared with.
const (
	maxRules = 1000
	maxGlobs = 200
)

func readCache(v conf.Value) Cache {
	f := v.Fields("key", "stale", "rules", "vary", "obey_clients")
	c := Cache{Key: readKey(f.Get("key")), Vary: readVary(f.Get("vary"))}
	stale := f.Get("stale").Fields("if_error", "while_revalidate")
	c.Stale.IfError = stale.Get("if_error").Duration()
	c.Stale.WhileRevalidate = stale.Get("while_revalidate").Duration()
	c.Rules = readRules(f.Get("rules"))
	if obey := f.Get("obey_clients"); obey.Exists() {
		c.ObeyClients = obey.Bool()
	}
	return c
}

func readKey(v conf.Value) Key {
	f := v.Fields("keep_query", "drop_query", "sort_query", "scheme")
	k := Key{KeepQuery: readGlobs(f.Get("keep_query")), DropQuery: readGlobs(f.Get("drop_query"))}
	if sorted := f.Get("sort_query"); sorted.Exists() {
		k.Unsorted = !sorted.Bool()
	}
	if scheme := f.Get("scheme"); scheme.Exists() {
		k.Scheme = scheme.Enum("http", "https")
	}
	return k
}

func readGlobs(v conf.Value) []string {
	var globs []string
	for _, item := range limited(v, maxGlobs) {
		name := item.Word()
		if fault, fix := globFault(name); fault != "" {
			item.Fail(fmt.Sprintf("query parameter %q %s", name, fault), fix)
			continue
		}
		if name != "" {
			globs = append(globs, name)
		}
	}
	return globs
}

// readVary reads names of request fields; an empty list is one, by which nothing may differ.
func readVary(v conf.Value) []string {
	if !v.Exists() {
		return nil
	}
	names := []string{}
	for _, item := range limited(v, maxGlobs) {
		name := strings.ToLower(item.Word())
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			item.Fail(fmt.Sprintf("%q is not the name of a header field", name), "write names such as accept-language; globs have no meaning here")
			continue
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// limited is Items with a limit.
func limited(v conf.Value, limit int) []conf.Value {
	items := v.Items()
	if len(items) > limit {
		v.Fail(fmt.Sprintf("%d items in %q", len(items), v.Name()), fmt.Sprintf("at most %d are supported", limit))
		items = items[:limit]
	}
	return items
}

// readRules reads the rules in order and reports those that an earlier one hides.
func readRules(v conf.Value) []Rule {
	var list []Rule
	var places []conf.Value
	for _, item := range limited(v, maxRules) {
		f := item.Fields("path", "store", "ttl")
		at := f.Need("path", "write which paths it is for: `path: /static/*`")
		r := Rule{Path: at.Word(), TTL: f.Get("ttl").Duration()}
		if store := f.Get("store"); store.Exists() {
			r.Never = store.Enum("never") == "never"
		}
		if item.IsMap() && f.Get("store").Exists() == f.Get("ttl").Exists() {
			item.Fail("a rule needs either store or ttl", "write `store: never` or `ttl: 24h`")
		}
		if r.Path == "" {
			continue
		}
		switch fault, fix := globFault(r.Path); {
		case fault != "":
			at.Fail(fmt.Sprintf("path %q %s", r.Path, fault), fix)
			continue
		case r.Path[0] != '/' && r.Path[0] != '*':
			at.Fail(fmt.Sprintf("path %q does not begin with /", r.Path), fmt.Sprintf("did you mean /%s?", r.Path))
			continue
		}
		for i, earlier := range list {
			if Match(earlier.Path, r.Path) {
				at.Fail(fmt.Sprintf("path %q is never reached: %q at %s comes first", r.Path, earlier.Path, places[i].Pos()), "move it before that rule, or remove it")
				break
			}
		}
		list = append(list, r)
		places = append(places, at)
	}
	return list
}

// globFault says why a pattern is none of ours, and what would be one. Only `*` is special, so that nobody needs to
// quote a dot.
func globFault(glob string) (fault, fix string) {
	switch {
	case strings.ContainsAny(glob, "?#"):
		return "has a ? or #", "write the path or the name alone: the query has its own settings"
	case strings.ContainsAny(glob, `[]{}\`):
		return "has brackets or a backslash", "use `*` for any run of characters; nothing else is special"
	case strings.ContainsAny(glob, " \t\n"):
		return "has a blank", "write one pattern per item; in a path a blank is %20"
	case strings.Contains(glob, "**"):
		return "has **", "write *: it matches slashes too"
	}
	return "", ""
}

// Match reports whether the glob matches the whole text: `*` stands for any run of characters, slashes too; all else
// for itself. It takes at most len(glob)*len(text) steps.
func Match[T ~string | ~[]byte](glob string, text T) bool {
	star, mark := -1, 0
	g, t := 0, 0
	for t < len(text) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, t
			g++
		case g < len(glob) && glob[g] == text[t]:
			g, t = g+1, t+1
		case star >= 0:
			mark++
			g, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
