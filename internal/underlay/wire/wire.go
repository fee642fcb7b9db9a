// Package wire is the protocol between a node of a local lab and the lab's runner.
//
// A node that reaches the network through the runner's unix socket opens one connection to it for each thing it wants:
//
//	node                                   runner
//	 │ {"op":"hello","node":"ams1"}          │
//	 ├──────────────────────────────────────►│
//	 │◄── {"ok":true,"addrs":[…]} ───────────┤   closed by the node
//	 │                                       │
//	 │ {"op":"dial","node":"ams1",           │
//	 │  "dst":"203.0.113.129:80"}            │
//	 ├──────────────────────────────────────►│   the flow is set up along the links, one round trip later:
//	 │◄── {"ok":true,"local":…,"remote":…} ──┤
//	 │◄═ frames ════════════════════════════►│   until either end closes
//	 │                                       │
//	 │ {"op":"listen","net":"tcp","addr":…,  │
//	 │  "at":"@00012","token":…}             │
//	 ├──────────────────────────────────────►│   the connection stays open: it is the listener's life
//	 │◄── {"ok":true,"local":…} ─────────────┤
//	 │                                       │
//	 │◄── connect to "at": preamble, frames ═╡   once for each accepted connection
//
// A frame is a length (4 bytes, big endian, at most MaxFrame) and that many bytes; length 0 says that no more will come
// (FIN). A connection that ends without it was reset (RST). So both ends of a flow can tell a whole answer from a broken
// one although unix sockets have no reset.
//
// The preamble is the listener's token and the source and destination of the flow. Datagrams travel over UDP on loopback,
// each behind a small header that names the other end (Datagram).
package wire

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// The operations of a Request.
const (
	Hello  = "hello"
	Dial   = "dial"
	Listen = "listen"
)

// MaxLine is the longest Request or Answer in bytes, its newline included.
const MaxLine = 4096

// Request is the first line that a node sends.
type Request struct {
	Op    string `json:"op"`
	Node  string `json:"node"`
	Net   string `json:"net,omitempty"`   // listen: "tcp" or "udp"
	Src   string `json:"src,omitempty"`   // dial: source address; empty lets the runner choose the node's unicast one
	Dst   string `json:"dst,omitempty"`   // dial: "IP:port" or "name:port"
	Addr  string `json:"addr,omitempty"`  // listen: "IP:port" in the topology; port 0 asks for a free one
	At    string `json:"at,omitempty"`    // listen: where the node receives on the host
	Token []byte `json:"token,omitempty"` // listen tcp: what the preamble must begin with
	Peer  string `json:"peer,omitempty"`  // listen udp: the only peer, when the socket is a connected one
}

// Answer is the runner's line in return.
type Answer struct {
	OK     bool           `json:"ok"`
	Error  string         `json:"error,omitempty"` // one of the codes of errors.go
	Detail string         `json:"detail,omitempty"`
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	Via    string         `json:"via,omitempty"`   // listen udp: the runner's own socket
	Addrs  []netip.Addr   `json:"addrs,omitempty"` // hello: the node's unicast addresses
}

// WriteLine sends a Request or an Answer.
func WriteLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	if len(text)+1 > MaxLine {
		return fmt.Errorf("encode line: %d bytes, at most %d", len(text)+1, MaxLine)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// ReadLine reads a Request or an Answer of at most MaxLine bytes into v. What follows the line stays in r, whose buffer
// must hold MaxLine bytes.
func ReadLine(r *bufio.Reader, v any) error {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("read line: longer than %d bytes", MaxLine)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("read line: %w", err)
	}
	return nil
}
