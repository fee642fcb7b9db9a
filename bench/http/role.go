//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// This program started again as: -role origin ADDR, -role nethttp ADDR, or -role tls ADDR,h1|h2,N,DURATION.
const roleFlag = "-role"

// sizes are the bodies that are asked for, in bytes.
var sizes = map[string]int{"1k": 1 << 10, "32k": 32 << 10, "1m": 1 << 20}

func role(args []string) int {
	if len(args) != 2 {
		return 2
	}
	if args[0] == "tls" {
		if err := tlsRole(args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	l, err := new(net.ListenConfig).Listen(nil, "tcp", args[1]) //nolint:staticcheck // lives as long as the process
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h := http.Handler(http.HandlerFunc(bare))
	if args[0] == "origin" {
		h = new(origin)
	}
	fmt.Fprintln(os.Stderr, http.Serve(l, h)) //nolint:gosec // loopback, for minutes
	return 1
}

// body is what a path has: "/1k" and the like, "/url/N" and "/miss/N" 1 KiB each.
func body(path string) []byte {
	size, ok := sizes[strings.TrimPrefix(path, "/")]
	if !ok {
		size = sizes["1k"]
	}
	return []byte(strings.Repeat(path+" ", size/(len(path)+1)+1)[:size])
}

// bare answers from memory and does nothing of what a cache does: how fast net/http could be.
func bare(w http.ResponseWriter, r *http.Request) {
	b := ready[r.URL.Path]
	if b == nil {
		b = body(r.URL.Path)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(b) // the load is gone if this fails
}

// ready are the bodies of sizes.
var ready = func() map[string][]byte {
	m := map[string][]byte{}
	for name := range sizes {
		m["/"+name] = body("/" + name)
	}
	return m
}()

// origin answers with an hour of freshness, and counts.
type origin struct{ asked atomic.Int64 }

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch {
	case r.URL.Path == "/asked":
		h.Set("Cache-Control", "no-store")
		_, _ = fmt.Fprint(w, o.asked.Load())
		return
	case r.Method == http.MethodPost:
		_, _ = io.Copy(io.Discard, r.Body)
		h.Set("Content-Length", "2")
		_, _ = io.WriteString(w, "ok")
		return
	}
	o.asked.Add(1)
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Etag", `"`+strconv.Itoa(len(r.URL.Path))+`"`)
	h.Set("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT")
	bare(w, r)
}
