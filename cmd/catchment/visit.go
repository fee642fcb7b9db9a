package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/catchment-net/catchment/internal/daemon"
	"github.com/catchment-net/catchment/labs"
	"github.com/catchment-net/catchment/labs/runner"
)

// These commands visit a lab as one of its users, with the programs that people know. What follows the client and what is
// asked for belongs to the program.

func (a *app) labCurl() *cobra.Command {
	var lab string
	cmd := &cobra.Command{
		Use: "curl CLIENT URL [CURL-ARG …]", Short: "Ask for a URL as a user of a client network does, with curl",
		Long: `Ask for a URL as a user of a client network does: the name is resolved there, and the request goes where that
network's router leads. It is the real curl, with the client's access port as its proxy; every argument after the
URL is curl's own, and so is the exit status.`,
		Args: cobra.MinimumNArgs(2),
		Example: `  catchment lab curl berlin http://www.shop.example/
  catchment lab curl berlin http://img.shop.example/ -sSD - -o /dev/null
  catchment lab curl --lab second tokyo http://www.shop.example/ -- --max-time 1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if where, secure := strings.CutPrefix(args[1], "https://"); secure {
				return fmt.Errorf("URL %q: POPs answer plain HTTP; want http://%s", args[1], where)
			}
			v, err := visitor(cmd.Context(), lab, args[0])
			if err != nil {
				return err
			}
			path, err := find("curl", "curl")
			if err != nil {
				return err
			}
			argv := append([]string{"-x", "http://" + v.status.HTTP, "--noproxy", "", args[1]}, rest(args[2:])...)
			return a.runProgram(cmd, path, argv)
		},
	}
	return visit(cmd, &lab)
}

func (a *app) labDig() *cobra.Command {
	var lab string
	cmd := &cobra.Command{
		Use: "dig CLIENT NAME [TYPE] [DIG-ARG …]", Short: "Ask the name servers as a resolver of a client network does, with dig",
		Long: `Ask the fleet's name servers as a resolver of a client network does: the question leaves from there and meets the
name server that the network's router leads to. It is the real dig, or kdig where that is not installed; every
argument after the client is its own. The client's own subnet is sent along (+subnet) unless one is given.`,
		Args: cobra.MinimumNArgs(2),
		Example: `  catchment lab dig berlin www.shop.example
  catchment lab dig berlin www.shop.example AAAA +short
  catchment lab dig berlin www.shop.example +subnet=198.51.100.128/27`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := visitor(cmd.Context(), lab, args[0])
			if err != nil {
				return err
			}
			path, err := find("dnsutils", "dig", "kdig")
			if err != nil {
				return err
			}
			argv, err := digArgs(v.status.DNS, v.prefixes, rest(args[1:]))
			if err != nil {
				return err
			}
			return a.runProgram(cmd, path, argv)
		},
	}
	return visit(cmd, &lab)
}

// visit ends catchment's own flags at the client's name: what follows may look like flags and is another program's.
func visit(cmd *cobra.Command, lab *string) *cobra.Command {
	cmd.Flags().SetInterspersed(false)
	cmd.ValidArgsFunction = completeFirst(lab, clientNames)
	labFlag(cmd, lab)
	cmd.Flags().Lookup("lab").Usage += "; before CLIENT"
	return cmd
}

// rest is what goes to the program: a leading -- has done its work.
func rest(args []string) []string {
	if i := slices.Index(args, "--"); i >= 0 {
		return slices.Delete(slices.Clone(args), i, i+1)
	}
	return args
}

// clientNetwork is a client network of a lab that is up.
type clientNetwork struct {
	status   labs.ClientStatus
	prefixes []netip.Prefix
}

// visitor finds a client network of the lab of that name.
func visitor(ctx context.Context, lab, name string) (*clientNetwork, error) {
	l, err := connect(lab)
	if err != nil {
		return nil, err
	}
	st, err := l.Status(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(st.Clients, func(c labs.ClientStatus) bool { return c.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("lab %q has no client network %q; it has %s", st.Name, name, strings.Join(clientNames(l), ", "))
	}
	v := &clientNetwork{status: st.Clients[i]}
	if n := l.Topology().Network(name); n != nil {
		v.prefixes = n.Prefixes
	}
	return v, nil
}

func clientNames(l *runner.Remote) []string {
	var names []string
	for _, n := range l.Topology().Internet.Networks {
		if n.Users > 0 {
			names = append(names, n.Name)
		}
	}
	return names
}

// digArgs sends what dig is asked to the access port, with the client's subnet.
func digArgs(access string, prefixes []netip.Prefix, args []string) ([]string, error) {
	host, port, err := net.SplitHostPort(access)
	if err != nil {
		return nil, fmt.Errorf("DNS access port %q: %w", access, err)
	}
	argv := append([]string{"@" + host, "-p", port}, args...)
	if slices.ContainsFunc(args, givesSubnet) {
		return argv, nil
	}
	if p := subnet(prefixes, slices.ContainsFunc(args, func(w string) bool { return strings.EqualFold(w, "AAAA") })); p.IsValid() {
		argv = append(argv, "+subnet="+p.String())
	}
	return argv, nil
}

// givesSubnet reports whether an option says what client subnet to send: +subnet, +nosubnet, or dig's older +client.
func givesSubnet(word string) bool {
	option, isOption := strings.CutPrefix(word, "+")
	option = strings.TrimPrefix(option, "no")
	return isOption && (strings.HasPrefix(option, "subnet") || strings.HasPrefix(option, "client"))
}

// subnet is the first prefix of the wanted family, else the first one of any.
func subnet(prefixes []netip.Prefix, six bool) netip.Prefix {
	for _, p := range prefixes {
		if p.Addr().Is6() == six {
			return p
		}
	}
	if len(prefixes) > 0 {
		return prefixes[0]
	}
	return netip.Prefix{}
}

// find looks for the first of several programs that is installed.
func find(pkg string, names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &labs.CannotError{What: "run " + strings.Join(names, " or ") + ", which is not installed", Fix: "run `sudo apt-get install -y " + pkg + "`"}
}

// runProgram runs a program in the place of this command.
func (a *app) runProgram(cmd *cobra.Command, path string, argv []string) error {
	p := exec.CommandContext(cmd.Context(), path, argv...) //nolint:gosec // the user's own curl or dig
	p.Stdin, p.Stdout, p.Stderr = cmd.InOrStdin(), a.out, a.err
	err := p.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 { // the program has said why
		return &daemon.ExitError{Code: exit.ExitCode()}
	}
	return err
}

// completeFirst completes the first argument from what a lab that is up knows.
func completeFirst(lab *string, names func(*runner.Remote) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		l, err := connect(*lab)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(l), cobra.ShellCompDirectiveNoFileComp
	}
}
