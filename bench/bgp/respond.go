//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// The service at each POP, a process that can be killed and stopped:
//
//	7007/udp  answers a datagram with the same and the POP's number behind it
//	8080/tcp  /health for probes; /transfer takes two seconds and ends with "END"
const (
	respondCommand = "respond"
	echoPort       = 7007
	webPort        = 8080
	transferTime   = 2 * time.Second
	transferStep   = 20 * time.Millisecond
)

// respond serves on the addresses: POP ADDRESS ….
func respond(ctx context.Context, args []string) error {
	if len(args) < 2 || len(args[0]) != 1 {
		return fmt.Errorf("%s %q: want a POP's number and addresses", respondCommand, args)
	}
	var lc net.ListenConfig
	failed := make(chan error, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/transfer", transfer)
	for _, a := range args[1:] {
		pc, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(a, fmt.Sprint(echoPort)))
		if err != nil {
			return err
		}
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(a, fmt.Sprint(webPort)))
		if err != nil {
			return err
		}
		go func() { failed <- echo(pc, args[0][0]) }()
		go func() {
			server := http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
			failed <- server.Serve(l)
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func echo(pc net.PacketConn, pop byte) error {
	buf := make([]byte, 64)
	for {
		n, from, err := pc.ReadFrom(buf[:63])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return err
		}
		buf[n] = pop
		_, _ = pc.WriteTo(buf[:n+1], from)
	}
}

func transfer(w http.ResponseWriter, _ *http.Request) {
	c := http.NewResponseController(w)
	for end := time.Now().Add(transferTime); time.Now().Before(end); time.Sleep(transferStep) {
		if _, err := w.Write(make([]byte, 1024)); err != nil {
			return
		}
		_ = c.Flush()
	}
	fmt.Fprint(w, "END")
}
