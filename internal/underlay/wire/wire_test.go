package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var near, far = netip.MustParseAddrPort("203.0.113.1:80"), netip.MustParseAddrPort("[2001:db8::1]:4711")

// pair makes the two ends of a stream over a unix socket.
func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, b = NewConn(x, bufio.NewReaderSize(x, MaxLine), near, far), NewConn(y, bufio.NewReaderSize(y, MaxLine), far, near)
	for _, c := range []*Conn{a, b} {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return a, b
}

func TestConnCarriesBytesAndFIN(t *testing.T) {
	a, b := pair(t)
	body := bytes.Repeat([]byte("0123456789"), 30_000) // several frames
	go func() {
		_, _ = a.Write(body)
		_ = a.CloseWrite()
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d of %d bytes, %v", len(got), len(body), err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write behind the FIN: got %v, want EPIPE", err)
	}
	_, _ = b.Write([]byte("answer"))
	b.Close()
	if got, err := io.ReadAll(a); err != nil || string(got) != "answer" {
		t.Errorf("the other half: got %q, %v", got, err)
	}
	if a.LocalAddr().String() != near.String() || a.RemoteAddr().String() != far.String() {
		t.Errorf("addresses %v and %v", a.LocalAddr(), a.RemoteAddr())
	}
}

func TestConnWithoutFINWasReset(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(*Conn)
		want error
	}{
		{"Close", func(c *Conn) { c.Close() }, nil},
		{"Abort", func(c *Conn) { c.Abort() }, syscall.ECONNRESET},
		{"linger 0", func(c *Conn) { _ = c.SetLinger(0); c.Close() }, syscall.ECONNRESET},
		{"death of the process", func(c *Conn) { c.c.Close() }, syscall.ECONNRESET},
		{"death within a frame", func(c *Conn) { _, _ = c.c.Write([]byte{0, 0, 0, 9, 1}); c.c.Close() }, syscall.ECONNRESET},
		{"death within a length", func(c *Conn) { _, _ = c.c.Write([]byte{0, 0}); c.c.Close() }, syscall.ECONNRESET},
	} {
		for _, read := range []func(*Conn) error{
			func(c *Conn) error { _, err := io.ReadAll(c); return err },
			func(c *Conn) error {
				for {
					if _, err := c.ReadFrame(); errors.Is(err, io.EOF) {
						return nil
					} else if err != nil {
						return err
					}
				}
			},
		} {
			a, b := pair(t)
			_, _ = a.Write([]byte("begun"))
			row.end(a)
			if err := read(b); !errors.Is(err, row.want) {
				t.Errorf("%s: got %v, want %v", row.name, err, row.want)
			}
		}
	}
}

func TestConnDeadlineKeepsWhatHasCome(t *testing.T) {
	a, b := pair(t)
	_, _ = a.c.Write([]byte{0, 0}) // half a length
	_ = b.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := b.Read(make([]byte, 4)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want a timeout", err)
	}
	_ = b.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = a.c.Write([]byte{0, 3, 'a', 'b', 'c'})
	var buf [4]byte
	if n, err := b.Read(buf[:]); err != nil || string(buf[:n]) != "abc" {
		t.Errorf("after the deadline: got %q, %v", buf[:n], err)
	}
	_, _ = a.c.Write([]byte{1, 0, 0, 0}) // 16 MiB
	if _, err := b.Read(buf[:]); err == nil || !strings.Contains(err.Error(), "16777216 bytes") {
		t.Errorf("a frame beyond the limit: got %v", err)
	}
}

func TestConnCutShortByADeadlineIsBroken(t *testing.T) {
	a, b := pair(t)
	_ = a.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := a.Write(make([]byte, 8<<20)); !errors.Is(err, os.ErrDeadlineExceeded) { // nobody reads
		t.Fatalf("got %v, want a timeout", err)
	}
	_ = a.SetWriteDeadline(time.Time{})
	go func() { _, _ = io.Copy(io.Discard, b) }()
	if _, err := a.Write([]byte("x")); err == nil {
		t.Error("a broken stream took more")
	}
}

func TestErrorsSurviveTheWay(t *testing.T) {
	for _, e := range errnos {
		a := Refuse(fmt.Errorf("dial: %w", e.errno))
		if err := a.Err("connect"); !errors.Is(err, e.errno) {
			t.Errorf("%v came out as %v", e.errno, err)
		}
	}
	var dns *net.DNSError
	if err := Refuse(NoSuchHost("x.example")).Err("connect"); !errors.As(err, &dns) || dns.Name != "x.example" {
		t.Errorf("no such host came out as %v", err)
	}
	if err := Refuse(os.ErrDeadlineExceeded).Err("connect"); !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("a timeout came out as %v", err)
	}
	if err := Refuse(errors.New("strange")).Err("connect"); err == nil || !strings.Contains(err.Error(), "strange") {
		t.Errorf("strange came out as %v", err)
	}
	if err := (Answer{OK: true}).Err("connect"); err != nil {
		t.Error(err)
	}
}

func TestLines(t *testing.T) {
	want := Request{Op: Listen, Node: "ams1", Net: "tcp", Addr: "203.0.113.1:80", At: "@00001", Token: []byte("0123456789abcdef")}
	var b bytes.Buffer
	if err := WriteLine(&b, want); err != nil {
		t.Fatal(err)
	}
	b.WriteString("rest")
	r := bufio.NewReaderSize(&b, MaxLine)
	var got Request
	if err := ReadLine(r, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("what follows the line: %q", rest)
	}
	if err := WriteLine(io.Discard, Request{Dst: strings.Repeat("x", MaxLine)}); err == nil {
		t.Error("a line beyond the limit was written")
	}
	if err := ReadLine(bufio.NewReaderSize(strings.NewReader(strings.Repeat("x", 2*MaxLine)), MaxLine), &got); err == nil {
		t.Error("a line beyond the limit was read")
	}
}

func drawAddr(t *rapid.T, label string) netip.AddrPort {
	n := rapid.SampledFrom([]int{4, 16}).Draw(t, label)
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, label))
	return netip.AddrPortFrom(a.Unmap(), rapid.Uint16().Draw(t, label))
}

func TestHeadersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src, dst := drawAddr(t, "src"), drawAddr(t, "dst")
		token := rapid.SliceOfN(rapid.Byte(), TokenSize, TokenSize).Draw(t, "token")
		gotSrc, gotDst, err := ReadPreamble(bytes.NewReader(AppendPreamble(nil, token, src, dst)), token)
		if err != nil || gotSrc != src || gotDst != dst {
			t.Errorf("preamble: got %v to %v, %v; want %v to %v", gotSrc, gotDst, err, src, dst)
		}
		payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		kind, peer, rest, err := ParseDatagram(append(AppendHeader(nil, KindRefused, src), payload...))
		if err != nil || kind != KindRefused || peer != src || !bytes.Equal(rest, payload) {
			t.Errorf("datagram: got %d %v %x, %v", kind, peer, rest, err)
		}
	})
}

func FuzzParseDatagram(f *testing.F) {
	f.Add(append(AppendHeader(nil, KindData, near), "payload"...))
	f.Add(AppendHeader(nil, KindUnreachable, far))
	f.Add([]byte{0, 18, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, peer, payload, err := ParseDatagram(b)
		if err != nil {
			return
		}
		if !peer.IsValid() {
			t.Fatal("a datagram without a peer")
		}
		again := append(AppendHeader(nil, kind, peer), payload...)
		k, p, rest, err := ParseDatagram(again)
		if err != nil || k != kind || p != peer || !bytes.Equal(rest, payload) {
			t.Errorf("%x and %x differ: %v", b, again, err)
		}
	})
}

func FuzzReadPreamble(f *testing.F) {
	token := []byte("0123456789abcdef")
	f.Add(AppendPreamble(nil, token, near, far))
	f.Add(append(token, 6, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		src, dst, err := ReadPreamble(bytes.NewReader(b), token)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, token) || !src.IsValid() || !dst.IsValid() {
			t.Errorf("%x gave %v to %v", b, src, dst)
		}
	})
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte(`{"op":"dial","node":"ams1","dst":"203.0.113.129:80"}` + "\n"))
	f.Add([]byte("{}\n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var req Request
		if err := ReadLine(bufio.NewReaderSize(bytes.NewReader(b), MaxLine), &req); err == nil && !bytes.Contains(b, []byte("\n")) {
			t.Error("a line without an end")
		}
	})
}

// What a node writes can be anything: reading it never fails otherwise than with an error, nor takes more than it says.
func FuzzConn(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 'h', 'i', 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 1})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewConn(nil, bufio.NewReaderSize(bytes.NewReader(b), MaxLine), near, far)
		total := 0
		for {
			frame, err := c.ReadFrame()
			if total += len(frame); err != nil {
				break
			}
		}
		if total > len(b) {
			t.Errorf("%d bytes came out of %d", total, len(b))
		}
	})
}
