package containerlab

import (
	"encoding/json"
	"fmt"

	"github.com/catchment-net/catchment/containerlab/machine"
	"github.com/catchment-net/catchment/labs/frr"
	"github.com/catchment-net/catchment/labs/router"
	"github.com/catchment-net/catchment/topology"
)

// The places of things in a container of ours.
const (
	machineDir  = "/machine"       // the machine's own files
	runDir      = "/run/catchment" // its sockets, a folder of the host
	adminName   = "admin.sock"
	adminFile   = runDir + "/" + adminName
	changesName = "changes.sock"
	clockName   = "clock"
)

// command is what a container of ours runs.
func (c *container) command() string {
	return "lab machine --file " + machineDir + "/machine.json"
}

// env of a container of ours: what `docker exec NODE /catchment status` asks.
func (c *container) env() pairs {
	return pairs{{"CATCHMENT_ADMIN", adminFile}, {"GOMAXPROCS", 2}, {"GOMEMLIMIT", "64MiB"}}
}

// binds are the files of the host that a container sees, relative to the topology file.
func (c *container) binds() list {
	if c.frr {
		own := func(name string) string { return c.name + "/" + name }
		return list{
			own("frr.conf") + ":/etc/frr/frr.conf", own("daemons") + ":/etc/frr/daemons", own("vtysh.conf") + ":/etc/frr/vtysh.conf",
		}
	}
	all := list{c.name + ":" + machineDir + ":ro", "lab:/lab:ro", "run/" + c.name + ":" + runDir}
	if c.role == pop {
		all = append(all, "keys/nodes/"+c.name+":/keys:ro", "geo.mmdb:/geo.mmdb:ro", hostsFile+":/etc/hosts:ro")
	}
	return all
}

// check is the command of the health check; nil where there is none.
func (c *container) check() inline {
	if c.frr {
		return inline{"vtysh", "-c", "show bgp summary"}
	}
	if c.role == pop {
		return inline{"/catchment", "status"}
	}
	return nil // a router of ours, and an edge, end when they cannot go on
}

// files adds the container's own files to the folder.
func (c *container) files(f *Folder) error {
	if c.frr {
		f.Files[c.name+"/frr.conf"] = []byte(frr.Conf(frr.Options{Machine: c.machine, Collector: f.Mgmt.Addr().Next(), CollectorDials: true}))
		f.Files[c.name+"/daemons"] = []byte(daemonsOf(c.machine))
		f.Files[c.name+"/vtysh.conf"] = []byte(vtyshConf)
		return nil
	}
	f.Files["run/"+c.name+"/.gitignore"] = []byte("*\n!.gitignore\n") // a folder that is there when containerlab binds it
	m := machine.File{Name: c.machine.Name, Run: c.processes(f.driven)}
	if c.beside == nil { // else the router has set its machine up
		m.Own = c.machine.Own
		for _, i := range c.machine.Interfaces {
			m.Interfaces = append(m.Interfaces, machine.Interface{Name: i.Name, Addrs: i.Addrs()})
		}
	}
	if err := f.add(c.name+"/machine.json", m); err != nil {
		return err
	}
	switch {
	case c.role == pop:
		around := router.SurroundingsOf(c.machine)
		if f.driven {
			around.Clock = runDir + "/" + clockName
		}
		return f.add(c.name+"/lab.json", around)
	case c.beside == nil:
		r := router.FileOf(c.machine)
		if f.driven {
			r.Changes = runDir + "/" + changesName
		}
		return f.add(c.name+"/router.json", r)
	}
	return nil
}

// processes are what runs in a container of ours.
func (c *container) processes(driven bool) [][]string {
	if c.role == pop {
		return [][]string{{
			"node", c.name, "-c", "/lab", "--state", "/var/lib/catchment", "--admin", adminFile, "--keys", "/keys", "--mmdb", "/geo.mmdb",
			"--memory", nodeMemory, "--lab", machineDir + "/lab.json",
		}}
	}
	var all [][]string
	if c.beside == nil {
		all = append(all, []string{"lab", "router", "--file", machineDir + "/router.json"})
	}
	if c.plays && !driven {
		all = append(all, []string{"lab", "edge", "--network", c.machine.Name, "-c", "/lab"})
	}
	return all
}

// hostsFile tells the nodes where the origins are, as the customers' own name servers would.
const hostsFile = "hosts"

func hosts(t *topology.Topology) []byte {
	var b text
	b.line("127.0.0.1 localhost\n::1 localhost")
	for _, o := range t.Internet.Origins {
		for _, a := range o.Addrs {
			b.line("%s %s", a, o.Host)
		}
	}
	return []byte(b.String())
}

// nodeMemory is the cache of a lab's node.
const nodeMemory = "32MiB"

// add adds a file of JSON.
func (f *Folder) add(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %q: %w", name, err)
	}
	f.Files[name] = append(text, '\n')
	return nil
}
