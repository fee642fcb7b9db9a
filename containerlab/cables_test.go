package containerlab

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// nft takes what we write, twice in a row and to take it away, where it is installed and we are root.
func TestFilterScript(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil || syscall.Getuid() != 0 {
		t.Skip("needs nft (Debian: nftables) and root")
	}
	for _, rules := range [][]string{{dropAll}, {gossipOnly}, {loseSome(0.3)}, {loseSome(1)}} {
		script := filterScript("lo", "link", rules)
		cmd := exec.CommandContext(t.Context(), nft, "-f", "-")
		cmd.Stdin = strings.NewReader(script + script + filterScript("lo", "link", nil))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, out, script)
		}
	}
}
