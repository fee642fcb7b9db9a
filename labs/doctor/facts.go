// Package doctor says what this host can run of labs and nodes, and the command that mends what it cannot.
//
// Collect looks (thin, Linux only), Examine judges (pure: facts in, findings out), Report prints.
package doctor

// Facts is what Collect found on a host. Nothing in it is a judgement.
type Facts struct {
	OS      string // as Go names it: "linux"
	Kernel  string // its release: "6.1.0-18-amd64"
	User    string
	Root    bool
	Sysctls map[string]string // by name, those that exist here

	// Installer is the package manager found: "apt-get", "dnf", "apk", or "".
	Installer string
	Programs  map[string]Program // by name, those that were found
	Docker    string             // why the engine does not answer; "" if it does, or if there is no docker

	Blocks    int    // of the local runner's 4096 address blocks, those in use
	Loopback  string // why 127.64.0.1 cannot be used; "" if it can
	StateRoot string // where labs keep their run-time files
	State     string // why nothing can be written there; "" if it can

	Namespaces string         // why no lab can be made of network namespaces; "" if one can
	Netem      string         // why the kernel does not delay an interface's packets; "" if it does
	Ports      map[int]string // why a TCP port of all addresses cannot be listened on, "" if it can

	Files       uint64 // the hard limit of open files, which our processes raise theirs to
	Processes   uint64 // the limit of processes of this user
	Memory      uint64 // bytes that are available
	ClockSource string
	Synced      bool // the kernel thinks that its clock is right
}

// Program is a program that was found.
type Program struct {
	Path    string
	Version string // its own first line, shortened; "" if it tells none
}
