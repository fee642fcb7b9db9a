package speaker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// pair is a TCP connection and our descriptor of its near end.
func pair(t *testing.T) (near, far net.Conn, fd int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	at := func(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
	if fd, err = openSocket(at(near.LocalAddr()), at(near.RemoteAddr())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeSocket(fd)
		near.Close()
		far.Close()
	})
	return near, far, fd
}

// What we write arrives whole, before what is corked behind it.
func TestTell(t *testing.T) {
	near, far, fd := pair(t)
	cork(fd, true)
	await(t, "an idle connection", func() bool { return idle(fd, 0) })
	if err := tell(fd, []byte("ours")); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte(" theirs")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "ours" {
		t.Fatalf("%q, %v", got, err)
	}
	cork(fd, false)
	got = make([]byte, 7)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != " theirs" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A neighbour that does not read may have been sent half a message: nothing of ours is put behind it.
func TestTellLeavesABusyConnectionAlone(t *testing.T) {
	near, far, fd := pair(t)
	written := make(chan int, 1)
	go func() {
		n := 0
		for {
			_ = near.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			k, err := near.Write(make([]byte, 1<<20))
			if n += k; err != nil {
				written <- n
				return
			}
		}
	}()
	n := <-written
	if err := tell(fd, []byte("ours")); !errors.Is(err, errBusy) {
		t.Fatalf("got %v, want %v", err, errBusy)
	}
	near.Close()
	closeSocket(fd)
	if got, err := io.ReadAll(far); err != nil || len(got) != n || bytes.Contains(got, []byte("ours")) {
		t.Errorf("read %d of %d octets, %v", len(got), n, err)
	}
}

func TestOpenSocketFindsThatConnectionAlone(t *testing.T) {
	near, _, _ := pair(t)
	local := near.LocalAddr().(*net.TCPAddr).AddrPort()
	if fd, err := openSocket(local, netip.AddrPortFrom(local.Addr(), 1)); err == nil {
		closeSocket(fd)
		t.Error("found a connection to a port that there is none to")
	}
}
