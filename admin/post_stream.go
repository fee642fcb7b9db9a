package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

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
	return c.do(ctx, method, path, body, func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			if err := fn(lines.Bytes()); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("read stream %s from admin socket %q: %w", path, socketPath(c.Socket), err)
		}
		return nil
	})
}
