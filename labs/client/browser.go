package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/catchment-net/catchment/labs"
)

// maxBody bounds what is read of one answer, in bytes: the largest body of an origin and then some.
const maxBody = 17 << 20

// roundPause is how long a browser waits before it goes over all addresses again: routing has often moved by then.
const roundPause = 100 * time.Millisecond

// rounds is how often all addresses are tried.
const rounds = 2

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// get tries the addresses in turn, in at most two rounds and Options.Total, and returns the first whole answer of any
// status. A refused, reset, cut or silent try goes on to the next address, as browsers do for GET. The Sample learns
// the number of tries and the last address.
//
//	time   0            500 ms        1.5 s                      3 s
//	v6     open ── no ──┘ next         │
//	v4                  open, ask ─── silence: half of the rest ─┘
func (c *Client) get(ctx context.Context, u *url.URL, addrs []netip.Addr, id string, s *labs.Sample) (*reply, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Total, errors.New("no answer in time"))
	defer cancel()
	var last error
	for round := range rounds {
		if round > 0 && !pause(ctx, roundPause) {
			break
		}
		for i, addr := range addrs {
			if ctx.Err() != nil {
				break
			}
			s.Tries++
			s.Addr = addr
			others := round < rounds-1 || i < len(addrs)-1
			a, err := c.try(ctx, u, addr, id, others)
			if err == nil {
				return a, nil
			}
			last = fmt.Errorf("%s: %w", addr, err)
		}
	}
	if last == nil {
		last = context.Cause(ctx)
	}
	return nil, last
}

// pause reports false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// try asks one address over a connection of its own. While other addresses are left, it takes at most half of the time
// that the whole request may take, and opening the connection at most DialWithin.
func (c *Client) try(ctx context.Context, u *url.URL, addr netip.Addr, id string, others bool) (*reply, error) {
	dialCtx := ctx
	if others {
		var cancel, cancelDial context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.o.Total/2, errors.New("no answer in time"))
		defer cancel()
		dialCtx, cancelDial = context.WithTimeoutCause(ctx, c.o.DialWithin, errors.New("no connection in time"))
		defer cancelDial()
	}
	port := 80
	if p, err := strconv.Atoi(u.Port()); err == nil {
		port = p
	}
	conn, err := c.o.Net.DialContext(dialCtx, "tcp", netip.AddrPortFrom(addr, uint16(port)).String())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", because(dialCtx, err))
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a, err := exchange(ctx, conn, u, id)
	if err != nil {
		return nil, because(ctx, err)
	}
	return a, nil
}

// because prefers the reason why a context ended to the closed socket that this led to.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// exchange sends the request and reads the whole answer. Only a body that ends as it should is whole.
func exchange(ctx context.Context, conn net.Conn, u *url.URL, id string) (*reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Close = true
	req.Header.Set("User-Agent", "catchment-lab")
	req.AddCookie(&http.Cookie{Name: "client", Value: id})
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read body: %w", err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("body has more than %d bytes", maxBody)
	}
	return &reply{resp.StatusCode, resp.Header, body}, nil
}
