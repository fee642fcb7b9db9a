package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The limits of a Client.
const (
	maxAnswer = 64 << 20 // bytes of one answer
	maxLine   = 1 << 20  // bytes of one line of a stream
)

// Client calls the API of a running process. Every call opens and closes its own connection, so a Client holds
// nothing and is safe for concurrent use.
type Client struct {
	Socket string // path of the unix socket, with or without "unix:"
}

// Get asks for path and decodes the answer into out (a pointer, or nil to drop it). A refusal is an *Error.
func (c Client) Get(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, path, nil, out)
}

// Post sends in as JSON (nil for no body) to path and decodes the answer into out, as Get does.
func (c Client) Post(ctx context.Context, path string, in, out any) error {
	return c.call(ctx, http.MethodPost, path, in, out)
}

// Follow calls fn with each line of a stream, without its line feed, until the stream ends, fn returns an error, or ctx
// is done. It returns fn's error, or nil at the end of the stream and of ctx. The line is valid only during the call.
func (c Client) Follow(ctx context.Context, path string, fn func(line []byte) error) error {
	return c.lines(ctx, http.MethodGet, path, nil, fn)
}

// Stream sends in as JSON to path and calls fn with each line of the answer, as Follow does.
func (c Client) Stream(ctx context.Context, path string, in any, fn func(line []byte) error) error {
	text, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the request %s %s: %w", http.MethodPost, path, err)
	}
	return c.lines(ctx, http.MethodPost, path, bytes.NewReader(text), fn)
}

// lines makes a request and calls fn with each line of its answer.
func (c Client) lines(ctx context.Context, method, path string, body io.Reader, fn func(line []byte) error) error {
	err := c.do(ctx, method, path, body, func(answer io.Reader) error {
		lines := bufio.NewScanner(answer)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			if err := fn(lines.Bytes()); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("read stream %s from admin socket %q: %w", path, socketPath(c.Socket), err)
		}
		return nil
	})
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// Events follows the event stream from sequence number after on, in order, as Follow does.
func (c Client) Events(ctx context.Context, after uint64, fn func(Line) error) error {
	return c.Follow(ctx, fmt.Sprintf("/v1/events?follow=1&after=%d", after), func(text []byte) error {
		var l Line
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("decode event %q: %w", text, err)
		}
		return fn(l)
	})
}

func (c Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(text)
	}
	return c.do(ctx, method, path, body, func(answer io.Reader) error {
		if out == nil {
			return nil
		}
		if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(out); err != nil {
			return fmt.Errorf("decode the answer of %s %s from admin socket %q: %w", method, path, socketPath(c.Socket), err)
		}
		return nil
	})
}

func (c Client) do(ctx context.Context, method, path string, body io.Reader, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://catchment"+path, body)
	if err != nil {
		return fmt.Errorf("make the request %s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socketPath(c.Socket))
	}}
	res, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return c.notReached(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= http.StatusBadRequest {
		return refusal(res)
	}
	return read(res.Body)
}

// notReached turns the transport's chain of errors into one line that says what to do.
func (c Client) notReached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("nothing answers at admin socket %q: %w; is it running? name another with --admin unix:PATH", socketPath(c.Socket), op.Err)
	}
	return fmt.Errorf("call admin socket %q: %w", socketPath(c.Socket), err)
}

func refusal(res *http.Response) error {
	e := &Error{Status: res.StatusCode}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxLine))
	if err != nil || json.Unmarshal(text, e) != nil || e.Text == "" {
		e.Text = fmt.Sprintf("%s answered %q", res.Request.URL.Path, res.Status)
	}
	return e
}

// Answers reports whether a living process serves the API at socket: it must answer a request within limit, since a
// stopped process still takes connections.
func Answers(socket string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return Client{Socket: socket}.Get(ctx, alivePath, nil) == nil
}
