package rpki

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A server that others wrote: all that it has at first, and what changes when its file does and it notifies us.
func TestStayRTR(t *testing.T) {
	if _, err := exec.LookPath("stayrtr"); err != nil {
		t.Skip("stayrtr is not installed")
	}
	file := filepath.Join(t.TempDir(), "vrps.json")
	write := func(roas string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(`{"metadata":{"counts":2},"roas":[`+roas+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"prefix":"192.0.2.0/24","maxLength":24,"asn":"AS64500"},{"prefix":"2001:db8::/32","maxLength":48,"asn":"AS64500"}`)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command("stayrtr", "-bind", addr, "-cache", file, "-metrics.addr", "", "-checktime=false", "-refresh", "1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("stayrtr:\n%s", said.Bytes())
		}
	})
	six := netip.MustParsePrefix("2001:db8:53::/48")
	v := New(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) })
	defer running.Wait()
	defer cancel()
	await := func(what string, ok func(*Table) bool) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			if table, known := v.Table(); known && ok(table) {
				return
			}
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%s: not in time; servers %+v", what, v.Servers())
			}
		}
	}
	awaitListener(t, addr)
	v.Set([]string{addr}, []netip.Prefix{ours, six})
	await("what it has", func(table *Table) bool {
		return table.Validate(ours, 64500) == Valid && table.Validate(ours, 64501) == Invalid && table.Validate(six, 64500) == Valid
	})
	write(`{"prefix":"192.0.2.0/24","maxLength":24,"asn":"AS64501"}`)
	_ = cmd.Process.Signal(syscall.SIGHUP)
	await("what has changed", func(table *Table) bool {
		return table.Validate(ours, 64500) == Invalid && table.Validate(ours, 64501) == Valid && table.Validate(six, 64500) == NotFound
	})
}

func awaitListener(t *testing.T, addr string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens at %s", addr)
}
