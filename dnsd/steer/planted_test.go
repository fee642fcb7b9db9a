//go:build faults

package steer

import (
	"testing"

	"github.com/catchment-net/catchment/internal/fault"
	"github.com/catchment-net/catchment/site"
)

func TestPlantedFaultKeepsTheDeadPOP(t *testing.T) {
	t.Setenv("CATCHMENT_FAULT", fault.DNSKeepsDeadPOP)
	p := compile(t, &site.Host{Name: "www", Steer: site.Geo}, world(t))
	if d := p.decide(at(t, "BER"), 4, view("ams", "ams1")); d.Name != "ams" || len(d.Addrs) != 2 {
		t.Errorf("got %s %v, want the dead POP with all nodes: the defect is not there", d.Name, d.Addrs)
	}
}

func TestPlantedFaultAnswersEmpty(t *testing.T) {
	t.Setenv("CATCHMENT_FAULT", fault.AnswersEmpty)
	p := compile(t, &site.Host{Name: "www", Steer: site.Geo}, world(t))
	if d := p.decide(at(t, "BER"), 4, view("sin")); len(d.Addrs) != 0 {
		t.Errorf("got %s %v while a POP is down, want nothing: the defect is not there", d.Name, d.Addrs)
	}
	if d := p.decide(at(t, "BER"), 4, view()); d.Name != "ams" {
		t.Errorf("got %q while all is well, want ams", d.Name)
	}
}
