package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/catalog"
	"github.com/catchment-net/catchment/labs/runner"
	"github.com/catchment-net/catchment/topology"
)

func (a *app) lab() *cobra.Command {
	cmd := &cobra.Command{
		Use: "lab", Short: "Bring a topology up on this machine, look at it, end it",
		Example: `  catchment lab up quickstart
  catchment lab curl berlin http://www.shop.example/
  catchment lab down`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.labList(), a.labUp(), a.labServe(), a.labRouter(), a.labHold(), a.labMachine(), a.labEdge(), a.labStatus(), a.labExec(), a.labRender(), a.labDown())
	cmd.AddCommand(a.labCurl(), a.labDig(), a.labCapture(), a.labTry())
	return cmd
}

func (a *app) labList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the labs that are shipped and those that are up", Args: cobra.NoArgs, Example: "  catchment lab list",
		RunE: func(*cobra.Command, []string) error {
			up := runner.Running(runner.StateRoot())
			if a.json {
				return a.printJSON(map[string][]string{"shipped": catalog.List(), "up": up})
			}
			t := daemon.NewTable("LAB", "SHIPPED", "UP")
			names := append(slices.Clone(catalog.List()), up...)
			slices.Sort(names)
			for _, n := range slices.Compact(names) {
				t.Row(n, yes(slices.Contains(catalog.List(), n)), yes(slices.Contains(up, n)))
			}
			return a.print(t)
		},
	})
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

// labArg is the lab that a command means: the one named, else the current folder if it is one, else quickstart.
func (a *app) labArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	if _, err := os.Stat(filepath.Join(a.dir, "topology.yaml")); err == nil {
		return a.dir
	}
	return "quickstart"
}

func (a *app) labUp() *cobra.Command {
	var name, kind, router string
	cmd := &cobra.Command{
		Use: "up [LAB|DIR]", Short: "Bring a lab up and return when every client is served", Args: cobra.MaximumNArgs(1),
		Example: `  catchment lab up quickstart
  catchment lab up ./mylab --name second`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(wantRunner(&kind), wantRouter(kind, router)); err != nil {
				return err
			}
			lab := a.labArg(args)
			if name == "" {
				name = filepath.Base(lab)
				if abs, err := filepath.Abs(lab); err == nil {
					name = filepath.Base(abs)
				}
			}
			if err := a.spawnRunner(cmd.Context(), order{lab: lab, name: name, runner: kind, router: router, tell: a.out}); err != nil {
				return err
			}
			return a.showStatus(cmd.Context(), name)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call this lab (default: the folder's name)")
	runnerFlag(cmd, &kind)
	routerFlag(cmd, &router)
	return cmd
}

// connect reaches a lab that is up: the one named, else the only one.
func connect(name string) (*runner.Remote, error) {
	if name == "" {
		up := slices.DeleteFunc(runner.Running(runner.StateRoot()), ofDrill)
		switch len(up) {
		case 1:
			name = up[0]
		case 0:
			return nil, errNoLab
		default:
			return nil, fmt.Errorf("several labs are up (%s); say which with --lab NAME", strings.Join(up, ", "))
		}
	}
	return runner.Connect(runner.StateRoot(), name)
}

// ofDrill reports whether a lab is a drill's own, which nobody means who names none.
func ofDrill(name string) bool { return drillLab.MatchString(name) }

var drillLab = regexp.MustCompile(`-drill-[0-9]+$`) //nolint:gochecknoglobals // a constant

var errNoLab = errors.New("no lab is up; `catchment lab up quickstart` brings one")

func labFlag(cmd *cobra.Command, name *string) *cobra.Command {
	cmd.Flags().StringVar(name, "lab", "", "which lab, if several are up")
	if err := cmd.RegisterFlagCompletionFunc("lab", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return runner.Running(runner.StateRoot()), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func (a *app) labStatus() *cobra.Command {
	var name string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "status", Short: "Show a lab's nodes, where every client lands, and lines to paste", Args: cobra.NoArgs,
		Example: `  catchment lab status
  catchment lab status --json --lab second`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showStatus(cmd.Context(), name) },
	})
	return labFlag(cmd, &name)
}

func (a *app) showStatus(ctx context.Context, name string) error {
	l, err := connect(name)
	if err != nil {
		return err
	}
	st, err := l.Status(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(st)
	}
	return a.printLab(st, l.Topology(), l.Hosts())
}

// printLab prints the two tables of a lab, and what to paste next.
func (a *app) printLab(st *labs.Status, t *topology.Topology, hosts []string) error {
	fmt.Fprintf(a.out, "\nlab %s (%s runner), files in %s\n\n", st.Name, st.Runner, st.State)
	nodes := daemon.NewTable("POP", "NODE", "STATE", "PID", "MEMORY", "ADMIN SOCKET")
	for _, n := range st.Nodes {
		nodes.Row(n.POP, n.Name, n.State, fmt.Sprint(n.PID), mebibytes(n.Pss), n.Admin)
	}
	if err := a.print(nodes); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	clients := daemon.NewTable("CLIENT", "CITY", "USERS", "BGP TAKES IT TO", "HTTP", "DNS")
	for _, c := range st.Clients {
		clients.Row(c.Name, c.City, fmt.Sprintf("%g", c.Users), landing(c.Lands), c.HTTP, c.DNS)
	}
	if err := a.print(clients); err != nil {
		return err
	}
	if len(st.Clients) == 0 || len(hosts) == 0 {
		return nil
	}
	user, other := examples(st.Clients, t)
	_, port, _ := strings.Cut(user.DNS, ":")
	lines := [][2]string{
		{"curl -i http://" + user.HTTP + "/", hosts[0] + " as " + user.City + " sees it; again for a hit"},
		{fmt.Sprintf("dig @127.0.0.1 -p %s %s", port, hosts[0]), "the POP for " + user.City + " …"},
	}
	if other != nil {
		lines = append(lines, [2]string{fmt.Sprintf("dig @127.0.0.1 -p %s %s +subnet=%v", port, hosts[0], other.Prefixes[0]), "… and for " + other.Name})
	}
	if links := t.Internet.Links; st.Runner != "local" && len(links) > 0 {
		lines = append(lines, [2]string{fmt.Sprintf("catchment lab capture %q", links[0].Name()), "what crosses that link"})
	}
	lines = append(lines,
		[2]string{"catchment status", "what a node sees of the fleet"},
		[2]string{"catchment bgp rib", "what it announces and hears"},
		[2]string{"catchment drill list", "what can be broken, and measured"},
		[2]string{"catchment lab down", "end it, leave nothing"},
	)
	return a.paste(lines)
}

// examples picks a user whose POP is not a shield, so that both tiers show, and another network that BGP takes
// elsewhere; nil if there is none.
func examples(clients []labs.ClientStatus, t *topology.Topology) (user labs.ClientStatus, other *topology.Network) {
	user = clients[0]
	for _, c := range clients {
		if pop := t.POP(landing(c.Lands)); pop != nil && !pop.Shield {
			user = c
			break
		}
	}
	for _, c := range clients {
		if n := t.Network(c.Name); landing(c.Lands) != landing(user.Lands) && n != nil && len(n.Prefixes) > 0 {
			return user, n
		}
	}
	return user, nil
}

// paste prints command lines with what each shows, aligned.
func (a *app) paste(lines [][2]string) error {
	width := 0
	for _, l := range lines {
		width = max(width, len(l[0]))
	}
	for _, l := range append([][2]string{{"", ""}}, lines...) {
		text := strings.TrimRight(fmt.Sprintf("%-*s   # %s", width, l[0], l[1]), " #")
		if _, err := fmt.Fprintln(a.out, text); err != nil {
			return err
		}
	}
	return nil
}

// landing writes where the anycast prefixes lead: one word where they agree.
func landing(lands map[string]string) string {
	var words []string
	for _, pop := range lands {
		if pop == "" {
			pop = "nowhere"
		}
		words = append(words, pop)
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " and ")
}

func mebibytes(b int64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20))
}

func (a *app) labExec() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "exec NODE|NETWORK -- CMD [ARG …]", Short: "Run a command beside a node, with CATCHMENT_ADMIN naming its socket", Args: cobra.MinimumNArgs(2),
		Long: `Run a command beside a node, with CATCHMENT_ADMIN naming its admin socket. Where nodes are machines (netns) or
containers (containerlab) it runs on the node's, with the node's interfaces and routes, and takes the name of a
network as well: its router's machine.`,
		Example: `  catchment lab exec ams1 -- catchment status
  catchment lab exec berlin -- ip route`,
		ValidArgsFunction: completeFirst(&name, machineNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := connect(name)
			if err != nil {
				return err
			}
			err = l.Exec(cmd.Context(), args[0], args[1:], a.out, a.err)
			if exit, ok := errors.AsType[runner.ExitCode](err); ok { // the command has said why
				return &daemon.ExitError{Code: exit.ExitCode()}
			}
			return err
		},
	}
	return labFlag(cmd, &name)
}

// machineNames are the nodes, and where networks are machines, too, the networks.
func machineNames(l *runner.Remote) []string {
	var names []string
	for _, n := range l.Topology().Nodes() {
		names = append(names, n.Name)
	}
	if l.Runner() == "local" {
		return names
	}
	for _, n := range l.Topology().Internet.Networks {
		names = append(names, n.Name)
	}
	return names
}

func (a *app) labDown() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "down", Short: "End a lab and remove everything it left", Args: cobra.NoArgs, Example: "  catchment lab down",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := connect(name)
			if err != nil {
				return err
			}
			if err := l.Down(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, "lab is down; nothing is left of it")
			return err
		},
	}
	return labFlag(cmd, &name)
}
