package containerlab

import (
	"github.com/catchment-net/catchment/labs/frr"
	"github.com/catchment-net/catchment/labs/layout"
)

// daemonsOf is the file that FRR's start script reads.
func daemonsOf(m *layout.Machine) string {
	if frr.Watched(m) {
		return daemons + bfdDaemon
	}
	return daemons
}

const daemons = `zebra=yes
bgpd=yes
staticd=yes
vtysh_enable=yes
zebra_options="-A 127.0.0.1 -s 90000000"
bgpd_options="-A 127.0.0.1"
staticd_options="-A 127.0.0.1"
`

const bfdDaemon = `bfdd=yes
bfdd_options="-A 127.0.0.1"
`

// vtyshConf says that there is one file for all daemons.
const vtyshConf = "service integrated-vtysh-config\n"
