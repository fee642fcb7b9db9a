package schema

import (
	"strings"

	"github.com/catchment-net/catchment/labs"
)

const (
	cityForm   = `^[A-Z]{3}$`
	nameForm   = `^[a-z][a-z0-9-]{0,30}$`
	hostForm   = `^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+\.?$`
	originForm = `^https?://[^/?#]+/?$`
	number     = `([0-9]+\.?[0-9]*|\.[0-9]+)`
	timeForm   = `\+?(0|(` + number + `(ns|us|µs|ms|s|m|h))+)`
)

// forms are patterns of what the readers take as words and judge afterwards, by place; `.*=` is a key. They may allow
// more than the reader: its own message is better than an editor's. They allow less only of spellings that nobody
// writes (HTTP://).
func forms() map[string]string {
	return map[string]string{
		"topology.pops.*=":                         nameForm,
		"topology.pops.*.at":                       cityForm,
		"topology.pops.*.at.country":               `^[A-Z]{2}$`,
		"topology.pops.*.nodes.*=":                 `^[a-z][a-z0-9.-]{0,62}$`,
		"topology.internet.networks.*=":            nameForm,
		"topology.internet.networks.*.at":          cityForm,
		"topology.internet.resolvers.*=":           nameForm,
		"topology.internet.nameservers.*=":         hostForm,
		"topology.internet.nameservers.*.at":       cityForm,
		"topology.internet.nameservers.*.zones.*=": `^(\.|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?)$`,
		"topology.internet.nameservers.*.zones.*":  `^parent/[A-Za-z0-9_][A-Za-z0-9._-]*$`,
		"topology.internet.origins.*=":             hostForm,
		"topology.internet.origins.*.at":           cityForm,
		"topology.internet.links.*=":               `^\s*\S+\s+(->|--)\s+\S+\s*$`,
		"site.hosts.*=":                            hostForm,
		"site.hosts.*.targets.*.at":                cityForm,
		"site.hosts.*.targets.*.regions[]":         `^[A-Z]{2}(-[A-Z0-9]{1,3})?$`,
		"site.hosts.*.targets.*.cname":             hostForm,
		"site.hosts.*.targets.*.probe":             `^https?://`,
		"site.origin[]":                            originForm,
		"site.origin[].url":                        originForm,
		"site.cache.rules[].path":                  `^[/*]`,
		"drill.load.*.get":                         `^http://[^/]`,
		"drill.let.*":                              `^\s*(catchment|dns)\s*\(.*\)\s*$`,
		"drill.at.*=":                              `^\s*` + timeForm + `\s*$`,
		"drill.at.*[]":                             stepForm(),
		"drill.expect.*=":                          `^(always|after\s+` + timeForm + `\s*|\s*` + timeForm + `\s*\.\.\s*` + timeForm + `\s*)$`,
		"drill.expect.*[]":                         `^.+(==|!=|<=|>=|<|>).+$`,
		"drill.load.*.dns":                         `^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?$`,
	}
}

// stepForm is VERB SUBJECT, or end.
func stepForm() string {
	var verbs []string
	for _, v := range labs.Verbs() {
		verbs = append(verbs, string(v))
	}
	return `^\s*((` + strings.Join(verbs, "|") + `)\s+\S.*|end)\s*$`
}
