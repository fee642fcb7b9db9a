package runner

import "slices"

// nodeMemory is the cache of a lab's node.
const nodeMemory = "32MiB"

// NodeProcess is what the processes of a node have in common.
type NodeProcess struct {
	Node    string
	Binary  string // catchment
	Config  string // the lab's folder
	Around  string // file of its Surroundings
	Env     []string
	Split   bool // three processes (bgpd, dnsd, popd) that the link joins
	Within  func(func() error) error
	Folders *Nodes
}

// Processes lists the processes of a node: one, or three where the lab is split.
func (p NodeProcess) Processes() []Process {
	state := p.Folders.State
	common := []string{"-c", p.Config, "--state", state.Node(p.Node), "--keys", state.File(KeysFolder), "--lab", p.Around}
	admin := []string{"--admin", p.Folders.Admin(p.Node)}
	geo := []string{"--mmdb", state.File(GeodataFile)}
	memory := []string{"--memory", nodeMemory}
	process := func(name, log string, argv ...[]string) Process {
		return Process{
			Name: name, Log: log, Argv: append([]string{p.Binary}, slices.Concat(argv...)...), Within: p.Within,
			Env: append([]string{"GOMAXPROCS=2", "GOMEMLIMIT=64MiB"}, p.Env...),
		}
	}
	if !p.Split {
		return []Process{process(p.Node, "log", []string{"node", p.Node}, common, admin, geo, memory)}
	}
	return []Process{
		process(p.Node+"/bgpd", "bgpd.log", []string{"bgpd", "--node", p.Node}, common, admin),
		process(p.Node+"/dnsd", "dnsd.log", []string{"dnsd", "--node", p.Node}, common, geo),
		process(p.Node+"/popd", "popd.log", []string{"popd", "--node", p.Node}, common, memory),
	}
}
