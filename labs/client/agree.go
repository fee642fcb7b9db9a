package client

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/catchment-net/catchment/labs"
)

// AskAll puts the load's question to every name server of the fleet at once, past every cache: each node's own addresses
// and the shared ones. The Sample is OK if at least one answered with an address.
func (c *Client) AskAll(ctx context.Context, load labs.Load) labs.Sample {
	s := labs.Sample{Client: c.o.Network.Name, Load: load.Name, Start: c.o.Mono(), Tries: 1, Views: c.servers()}
	var all sync.WaitGroup
	for i := range s.Views {
		v := &s.Views[i]
		all.Go(func() {
			a, err := c.resolver.askServer(ctx, load.DNS, netip.AddrPortFrom(v.Server, 0))
			if err != nil {
				v.Error = err.Error()
				return
			}
			if v.Node == "" {
				v.Node = a.Node
			}
			v.Answer = c.opinion(a.Addrs)
		})
	}
	all.Wait()
	s.Error = "no name server gave an address"
	for _, v := range s.Views {
		switch {
		case v.Answer == "empty":
			s.DNSEmpty = true
		case v.Answer != "":
			s.OK, s.Error = true, ""
		}
	}
	s.End = c.o.Mono()
	return s
}

// servers are the fleet's name servers, those of the nodes in file order and then the shared ones.
func (c *Client) servers() []labs.View {
	var all []labs.View
	for _, n := range c.o.Topology.Nodes() {
		for _, a := range n.Addrs {
			all = append(all, labs.View{Server: a, Node: n.Name})
		}
	}
	for _, a := range c.o.Topology.Anycast.DNS {
		all = append(all, labs.View{Server: a})
	}
	return all
}

// opinion is an answer in a form that two name servers can be compared by: which nodes of a POP it lists, and in which
// order, says nothing of where it sends the client.
func (c *Client) opinion(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "empty"
	}
	if pop := c.popOf(addrs); pop != "" {
		return pop
	}
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}
