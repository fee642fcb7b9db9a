//go:build linux

// Command bgp measures how fast anycast routes are withdrawn, and what planned work costs, with our speakers and with those
// of others, in labs on network namespaces: a client network, a transit that is FRR or BIRD, and two POPs or three.
//
//	client ── cable ── transit (FRR or BIRD) ──┬── cable ── best: service, speaker under test
//	                                           └── cable ── next: the same
//
// A trial has one fault. What is timed are frames on the cables and the client's answers, on the clock of one process. It
// needs root, Linux, and Debian's frr, bird2, exabgp and curl for the rows that name them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/catchment-net/catchment/labs/netns"
)

// options are the flags.
type options struct {
	binary   string // catchment
	rows     []string
	transits []string
	trials   int
	long     bool
	hot      time.Duration
	json     string
	bfd      time.Duration
	speakers string
	verbose  bool
	inside   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	os.Exit(status(err)) //nolint:forbidigo // this is a program
}

// command does what the arguments say.
func command(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == respondCommand {
		return respond(ctx, args[1:])
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if !o.inside {
		return again(ctx)
	}
	return run(ctx, o)
}

// status is that of the process, which says what went wrong; what this program's other half said is said.
func status(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if half, ok := errors.AsType[*exec.ExitError](err); ok {
		return half.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "bgp:", err)
	return 1
}

func parse(args []string) (options, error) {
	var o options
	var rows, transits string
	f := flag.NewFlagSet("bgp", flag.ContinueOnError)
	f.StringVar(&o.binary, "binary", "bin/catchment", "the catchment to measure")
	f.StringVar(&rows, "rows", "", "which rows, as death,hang; empty for all but those of -long. Known: "+strings.Join(rowNames(), ", "))
	f.StringVar(&transits, "transits", "bird,frr", "what the transit is")
	f.IntVar(&o.trials, "trials", 10, "of each row")
	f.DurationVar(&o.bfd, "bfd", 10*time.Millisecond, "row blackhole: between two BFD packets; 0 leaves it to the hold time of 9 s")
	f.BoolVar(&o.long, "long", false, "also the rows of many minutes: idle (2), saturated (10)")
	f.DurationVar(&o.hot, "saturated", 10*time.Minute, "row saturated: for how long, with each speaker")
	f.StringVar(&o.speakers, "speakers", "", "only speakers whose names hold this, as exabgp")
	f.StringVar(&o.json, "json", "", "file for the same as JSON")
	f.BoolVar(&o.verbose, "v", false, "print each trial")
	f.BoolVar(&o.inside, "inside", false, "for the program itself: it is in namespaces of its own")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.transits = strings.Split(transits, ",")
	if rows != "" {
		o.rows = strings.Split(rows, ",")
	}
	for _, t := range o.transits {
		if t != "bird" && t != "frr" {
			return o, fmt.Errorf("transit %q: want bird or frr", t)
		}
	}
	if o.trials < 1 {
		return o, fmt.Errorf("%d trials: want at least 1", o.trials)
	}
	var err error
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return o, err
	}
	return o, netns.Able(o.binary)
}

// again runs this program in namespaces of its own.
func again(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, append(os.Args[1:], "-inside")...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	netns.Isolate(cmd)
	return cmd.Run()
}

func run(ctx context.Context, o options) error {
	if err := netns.Settle(); err != nil {
		return err
	}
	t := newTable(o, os.Stdout)
	for _, r := range rows() {
		if !r.wanted(o) {
			continue
		}
		for _, transit := range r.transits(o) {
			if err := r.measure(ctx, o, transit, t); err != nil {
				if ctx.Err() != nil {
					return errors.New("interrupted")
				}
				t.failed(r, transit, err)
			}
		}
	}
	return t.finish()
}
