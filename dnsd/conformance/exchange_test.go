package conformance

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

const (
	askers     = 32                     // at once, per server
	answerIn   = 400 * time.Millisecond // without an answer by then, the server has dropped a packet that it may drop
	lostAfter  = 4 * time.Second        // and any other packet was lost
	maxMessage = 65535
)

// askAll sends every case to the server and returns the answers in the same order; nil where none came.
func askAll(t *testing.T, s server, cases []queryCase) [][]byte {
	t.Helper()
	out := make([][]byte, len(cases))
	next := make(chan int)
	var all sync.WaitGroup
	for range askers {
		all.Go(func() {
			a := &asker{server: s, buf: make([]byte, maxMessage)}
			defer a.hangUp()
			for i := range next {
				out[i] = a.ask(cases[i])
				if out[i] == nil && !cases[i].mayDrop { // lost: this machine was busy
					out[i] = a.ask(cases[i])
				}
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	all.Wait()
	return out
}

// asker asks one server, one question at a time.
type asker struct {
	server server
	udp    net.Conn // kept from question to question; nil before the first
	buf    []byte
}

func (a *asker) hangUp() {
	if a.udp != nil {
		a.udp.Close()
		a.udp = nil
	}
}

func (a *asker) ask(c queryCase) []byte {
	until := time.Now().Add(answerIn)
	if !c.mayDrop {
		until = time.Now().Add(lostAfter)
	}
	exchange := a.overUDP
	if c.tcp {
		exchange = a.overTCP
	}
	answer, err := exchange(c.packet, until)
	if err != nil {
		a.hangUp() // a late answer must not meet the next question
		return nil
	}
	return answer
}

func (a *asker) overUDP(packet []byte, until time.Time) ([]byte, error) {
	if a.udp == nil {
		conn, err := net.Dial("udp", a.server.addr.String())
		if err != nil {
			return nil, err
		}
		a.udp = conn
	}
	if err := a.udp.SetDeadline(until); err != nil {
		return nil, err
	}
	if _, err := a.udp.Write(packet); err != nil {
		return nil, err
	}
	n, err := a.udp.Read(a.buf)
	return bytes.Clone(a.buf[:n]), err
}

func (a *asker) overTCP(packet []byte, until time.Time) ([]byte, error) {
	conn, err := net.Dial("tcp", a.server.addr.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(until); err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, a.buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(a.buf))
	_, err = io.ReadFull(conn, a.buf[:n])
	return bytes.Clone(a.buf[:n]), err
}
