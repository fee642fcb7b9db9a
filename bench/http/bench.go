//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"text/tabwriter"
	"time"
)

// The mixed load, as shares of the requests.
const (
	urls       = 50_000 // of 1 KiB each, asked for by Zipf's law with exponent 1
	missShare  = 0.04   // URLs never asked for before
	postShare  = 0.01
	startLimit = 20 * time.Second
	fillLimit  = time.Minute // to ask for all of them once
)

// bench is a run.
type bench struct {
	o       options
	dir     string
	self    string
	out     io.Writer
	origin  *server
	servers []*server
	http    http.Client
	misses  int // URLs that were used up
}

// start starts the origin and all servers.
func (b *bench) start(ctx context.Context) error {
	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	b.origin = &server{name: "origin"}
	if b.origin.at, err = freePort(ctx); err != nil {
		return err
	}
	if b.origin.process, err = begin(ctx, loadCore, filepath.Join(b.dir, "origin.log"), b.self, roleFlag, "origin", b.origin.at.String()); err != nil {
		return err
	}
	if err := b.await(ctx, b.origin, "/1k"); err != nil {
		return err
	}
	for _, name := range b.o.servers {
		if _, err := exec.LookPath(program(name)); err != nil && name != "catchment" && name != "nethttp" {
			fmt.Fprintf(b.out, "%s left out: %s is not installed\n", name, program(name))
			continue
		}
		s, err := b.launch(ctx, name)
		if err != nil {
			return err
		}
		b.servers = append(b.servers, s)
		if err := b.await(ctx, s, "/1k"); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) stop() {
	for _, s := range append(b.servers, b.origin) {
		if s != nil && s.process != nil {
			s.end()
		}
	}
}

// await waits until a server answers.
func (b *bench) await(ctx context.Context, s *server, path string) error {
	var err error
	for end := time.Now().Add(startLimit); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if _, _, err = b.get(ctx, s, path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer at %v: %w\n%s", s.name, s.at, err, s.said())
}

// get asks once, and checks the body.
func (b *bench) get(ctx context.Context, s *server, path string) (http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.at.String()+path, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("%s: %s: %.200s", path, resp.Status, got)
	case path != "/asked" && !bytes.Equal(got, body(path)):
		return nil, nil, fmt.Errorf("%s: the body is not the origin's", path)
	}
	return resp.Header, got, nil
}

// asked is how often the origin was asked for something that can be cached.
func (b *bench) asked(ctx context.Context) (int64, error) {
	_, text, err := b.get(ctx, b.origin, "/asked")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

// warm has the server hold what will be asked for, and checks right before the shot that it does: the right body, said to
// come from the cache, and the origin was not asked.
func (b *bench) warm(ctx context.Context, s *server, row string) error {
	path := "/" + row
	if overTLS(row) {
		path = "/1k"
	}
	if row == "mixed" {
		path = "/url/0"
		if err := b.fill(s); err != nil {
			return err
		}
	}
	for range 2 {
		if _, _, err := b.get(ctx, s, path); err != nil {
			return err
		}
	}
	before, err := b.asked(ctx)
	if err != nil {
		return err
	}
	h, _, err := b.get(ctx, s, path)
	if err != nil {
		return err
	}
	after, err := b.asked(ctx)
	if err != nil {
		return err
	}
	if s.name != "nethttp" && (before != after || h.Get("Age") == "" && h.Get("Cache-Status") == "") {
		return fmt.Errorf("%s does not answer %s from its cache: %v", s.name, path, h)
	}
	return nil
}

// fill asks for every URL of the mixed load once.
func (b *bench) fill(s *server) error {
	if s.filled {
		return nil
	}
	s.filled = true
	i := 0
	for end := time.Now().Add(fillLimit); i < urls && time.Now().Before(end); {
		if _, err := load(s.at, 16, time.Second, func() []byte {
			i++
			return get(fmt.Sprintf("/url/%d", i%urls))
		}); err != nil {
			return err
		}
	}
	return nil
}

func get(path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
}

// requests makes the load of a row.
func (b *bench) requests(row string, seed uint64) func() []byte {
	if row != "mixed" {
		r := get("/" + row)
		return func() []byte { return r }
	}
	r := rand.New(rand.NewPCG(seed, 1))
	ranks := zipf(urls)
	post := []byte("POST /form HTTP/1.1\r\nHost: bench.example\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + string(bytes.Repeat([]byte("x"), 100)))
	ready := make([][]byte, urls)
	for i := range ready {
		ready[i] = get(fmt.Sprintf("/url/%d", i))
	}
	return func() []byte {
		switch x := r.Float64(); {
		case x < postShare:
			return post
		case x < postShare+missShare:
			b.misses++
			return get(fmt.Sprintf("/miss/%d", b.misses))
		default:
			return ready[ranks(r.Float64())]
		}
	}
}

// zipf draws a rank below n with probability in proportion to 1/(rank+1).
func zipf(n int) func(float64) int {
	sums := make([]float64, n)
	total := 0.0
	for i := range sums {
		total += 1 / float64(i+1)
		sums[i] = total
	}
	return func(x float64) int { return min(sort.SearchFloat64s(sums, x*total), n-1) }
}

// shot is one measurement of one server.
type shot struct {
	result
	perCPU float64 // requests per second of processor time
	busy   float64 // share of its core
	rss    int64
}

// row measures every server in every round and prints the medians.
func (b *bench) row(ctx context.Context, row string) error {
	shots := map[string][]shot{}
	for round := range b.o.rounds {
		for _, s := range b.servers {
			if row == "mixed" && s.name == "nethttp" || overTLS(row) && !endsTLS(s.name) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := b.warm(ctx, s, row); err != nil {
				return err
			}
			before, start := s.usage(), time.Now()
			r, err := b.load(ctx, s, row, uint64(round))
			if err != nil {
				return errors.Join(fmt.Errorf("%s, row %s: %w", s.name, row, err), errors.New(s.said()))
			}
			after := s.usage()
			cpu := (after.cpu - before.cpu).Seconds()
			shots[s.name] = append(shots[s.name], shot{r, float64(r.requests) / cpu, cpu / time.Since(start).Seconds(), after.rss})
		}
	}
	return b.print(row, shots)
}

func (b *bench) load(ctx context.Context, s *server, row string, seed uint64) (result, error) {
	if overTLS(row) {
		return b.loadTLS(ctx, s, row)
	}
	return load(s.at, b.o.conns, b.o.shot, b.requests(row, seed))
}

// print writes the medians, each with its ratio to ours.
func (b *bench) print(row string, shots map[string][]shot) error {
	w := tabwriter.NewWriter(b.out, 2, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\trequests/CPU-s\tours is\trequests/s\tcore busy\tp50\tp99\tRSS MiB\n", row)
	ours := median(shots["catchment"], func(s shot) float64 { return s.perCPU })
	for _, s := range b.servers {
		all := shots[s.name]
		if len(all) == 0 {
			continue
		}
		per := median(all, func(s shot) float64 { return s.perCPU })
		times := "-"
		if ours > 0 {
			times = fmt.Sprintf("%.2f x", ours/per)
		}
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%.0f\t%.0f %%\t%.0f µs\t%.0f µs\t%.0f\n", s.name, per, times,
			median(all, func(s shot) float64 { return float64(s.requests) / b.o.shot.Seconds() }),
			100*median(all, func(s shot) float64 { return s.busy }),
			median(all, func(s shot) float64 { return float64(s.p50.Microseconds()) }),
			median(all, func(s shot) float64 { return float64(s.p99.Microseconds()) }),
			median(all, func(s shot) float64 { return float64(s.rss) / (1 << 20) }))
	}
	return w.Flush()
}

func median(all []shot, of func(shot) float64) float64 {
	if len(all) == 0 {
		return math.NaN()
	}
	v := make([]float64, len(all))
	for i, s := range all {
		v[i] = of(s)
	}
	slices.SortFunc(v, cmp.Compare[float64])
	return v[len(v)/2]
}
