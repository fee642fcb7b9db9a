//go:build linux

// Command dns measures how many answers of a GeoDNS server a second of one core gives, with ours and with those of
// others, on the same zone, the same geodata and the same queries:
//
//	load (core 1) ── loopback ── server under test (core 0, one worker)
//
// Each round asks each server in turn: first a sample whose answers must all be right, then a flood of 256 queries under
// way, then a calm 10,000 queries a second. The mark is queries per second of processor time of the server's threads,
// which other work on the machine hardly changes. It needs no rights, Linux, two cores and Debian's packages of the peers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	binary     string
	rows       string
	rounds     int
	flood      time.Duration
	calm       time.Duration
	serverCore int
	loadCore   int
	seed       uint64
	keep       string
	raised     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-dns:", err)
		os.Exit(1) //nolint:forbidigo // this is a program
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("dns", flag.ContinueOnError)
	f.StringVar(&o.binary, "binary", "bin/catchment", "our program; several, as NAME=FILE,NAME=FILE, are compared")
	f.StringVar(&o.rows, "rows", "", "only these servers, by comma: catchment gdnsd knot pdns nsd coredns")
	f.IntVar(&o.rounds, "rounds", 5, "how often each server has its turn")
	f.DurationVar(&o.flood, "flood", 2*time.Second, "of 256 queries under way, in each round")
	f.DurationVar(&o.calm, "calm", time.Second, "of 10,000 queries a second, in each round")
	f.IntVar(&o.serverCore, "server-core", 0, "where the server runs")
	f.IntVar(&o.loadCore, "load-core", 1, "where the load runs")
	f.Uint64Var(&o.seed, "seed", 1, "of the world and the order of its questions")
	f.StringVar(&o.keep, "keep", "", "folder for all files, which stays (default: a temporary one)")
	f.BoolVar(&o.raised, "raised", false, "give the servers and the load more of a busy machine than its other work gets (root)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("argument %q; want flags only", f.Arg(0))
	}
	return o, nil
}

func command(ctx context.Context, args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-dns-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if o.raised {
		raise(os.Getpid())
	}
	w, err := build(dir, o.seed)
	if err != nil {
		return err
	}
	servers, err := o.servers(w, dir)
	if err != nil {
		return err
	}
	running := servers[:0]
	for _, s := range servers {
		defer s.stop()
		if err := s.start(ctx, dir, o.serverCore, o.raised); err != nil {
			fmt.Fprintf(os.Stderr, "skipped: %v\n", err)
			continue
		}
		running = append(running, s)
	}
	table := newTable(running)
	for round := range o.rounds {
		for _, s := range running {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			m, err := o.measure(w, s, o.seed+uint64(round))
			if err != nil {
				return err
			}
			table.add(s, m)
			fmt.Fprintf(os.Stderr, "round %d  %-10s %v\n", round+1, s.name, m)
		}
	}
	table.write(os.Stdout)
	return nil
}

func (o options) wants(name string) bool {
	return o.rows == "" || slices.Contains(strings.Split(o.rows, ","), name)
}

func (o options) servers(w *world, dir string) (list []*server, err error) {
	if o.wants("catchment") {
		for binary := range strings.SplitSeq(o.binary, ",") {
			name, file, named := strings.Cut(binary, "=")
			if !named {
				name, file = "catchment", binary
			}
			if file, err = filepath.Abs(file); err != nil { // it is started in a folder of its own
				return nil, err
			}
			s, err := ours(name, file, w, dir)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	for _, p := range peers() {
		if !o.wants(p.name) {
			continue
		}
		s, why, err := p.setUp(w, dir)
		switch {
		case err != nil:
			return nil, fmt.Errorf("set up %s: %w", p.name, err)
		case why != "":
			fmt.Fprintln(os.Stderr, "skipped:", why)
		default:
			list = append(list, s)
		}
	}
	return list, nil
}

// measurement is one turn of one server.
type measurement struct {
	flood, calm float64 // queries per second of processor time
	rate        float64 // queries a second in the flood
	share       float64 // of its core that the server had in the flood
	lost        int
	p50, p99    time.Duration // calm
	missed      int           // calm
	memory      float64       // MiB
}

func (m measurement) String() string {
	return fmt.Sprintf("flood %6.0f q/CPU-s, %6.0f q/s at %.2f of the core, %d lost; calm %6.0f q/CPU-s, p50 %v p99 %v, %d lost; %.0f MiB",
		m.flood, m.rate, m.share, m.lost, m.calm, m.p50.Round(time.Microsecond), m.p99.Round(time.Microsecond), m.missed, m.memory)
}

// measure gives one server its turn. The load runs on a thread that ends with it.
func (o options) measure(w *world, s *server, seed uint64) (m measurement, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var l *load
		if l, err = newLoad(s.addr, w.questions, o.loadCore); err != nil {
			return
		}
		defer l.close()
		if _, err = check(s.addr, w.questions, s.can, seed); err != nil {
			err = fmt.Errorf("%s: %w", s.name, err)
			return
		}
		l.flood(o.flood / 10)
		began, cpu := time.Now(), s.cpu()
		answered, lost := l.flood(o.flood)
		wall, used := time.Since(began), s.cpu()-cpu
		m.flood, m.rate, m.share, m.lost = float64(answered)/used.Seconds(), float64(answered)/wall.Seconds(), used.Seconds()/wall.Seconds(), lost
		cpu = s.cpu()
		took, sent := l.calm(o.calm)
		used = s.cpu() - cpu
		m.calm, m.missed = float64(len(took))/used.Seconds(), sent-len(took)
		m.p50, m.p99, m.memory = percentile(took, 0.5), percentile(took, 0.99), s.memory()
	}()
	<-done
	return m, err
}
