//go:build linux

// Command http measures what a cache hit costs a server: our cache, nginx, Varnish, HAProxy, Traffic Server and a bare
// net/http server, each with its answers in memory, one after the other in every round.
//
//	load (core 1) ── 64 kept connections ──► server under test (core 0) ── misses ──► origin (core 1)
//
// The figure is requests per second of the server's own processor time, which other work on the machine moves little;
// latencies are wall-clock time and need a quiet machine. Servers that are not installed are left out, saying so. It needs
// Linux with two cores, no rights, and Debian's nginx, varnish, haproxy and trafficserver.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	binary  string // catchment
	rows    []string
	servers []string
	rounds  int
	shot    time.Duration
	conns   int
}

// allRows are the kinds of load: bodies of a size, a mixture, and 1 KiB over TLS by HTTP/1.1 and by HTTP/2.
var allRows = []string{"1k", "32k", "1m", "mixed", "https1", "https2"}

func main() {
	if len(os.Args) > 2 && os.Args[1] == roleFlag {
		os.Exit(role(os.Args[2:])) //nolint:forbidigo // this is a program
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-http:", err)
		os.Exit(1) //nolint:forbidigo // this is a program
	}
}

// command does what the arguments say.
func command(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-http")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{o: o, dir: dir, out: out}
	defer b.stop()
	if err := errors.Join(b.certify(), b.start(ctx)); err != nil {
		return err
	}
	for _, row := range o.rows {
		if err := b.row(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

func parse(args []string) (options, error) {
	var o options
	var rows, servers string
	f := flag.NewFlagSet("bench-http", flag.ContinueOnError)
	f.StringVar(&o.binary, "binary", "bin/catchment", "our program")
	f.StringVar(&rows, "rows", strings.Join(allRows, ","), "kinds of load, of "+strings.Join(allRows, ", "))
	f.StringVar(&servers, "servers", strings.Join(allServers, ","), "servers, of "+strings.Join(allServers, ", "))
	f.IntVar(&o.rounds, "rounds", 3, "rounds; the median counts")
	f.DurationVar(&o.shot, "shot", 2*time.Second, "time of one shot at one server")
	f.IntVar(&o.conns, "conns", 64, "connections")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.rows, o.servers = strings.Split(rows, ","), strings.Split(servers, ",")
	for _, r := range o.rows {
		if !slices.Contains(allRows, r) {
			return o, fmt.Errorf("row %q: want one of %s", r, strings.Join(allRows, ", "))
		}
	}
	for _, s := range o.servers {
		if !slices.Contains(allServers, s) {
			return o, fmt.Errorf("server %q: want one of %s", s, strings.Join(allServers, ", "))
		}
	}
	if o.rounds < 1 || o.conns < 1 {
		return o, errors.New("want at least one round and one connection")
	}
	return o, nil
}
