// Package admin is the operator's door to a running process: an HTTP API with JSON on a unix socket, and its client.
//
//	catchment status ──GET /v1/status──► socket (mode 0600) ──► handler hung up by node or labs/local
//	                 ◄── 200 JSON, or 4xx/5xx {"error": …, "fix": …} ──
//	catchment events ──GET /v1/events?follow=1&after=N──► one event a line (NDJSON), until either side hangs up
//
// Whoever may open the socket may do everything; its mode is the only access rule. The package knows no meaning: each
// daemon hangs its own routes on a Server.
package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// alivePath answers 204 in every Server, so that Answers can tell a living process from one that is stopped.
const alivePath = "/v1/alive"

// Error is a refusal: why, and what would be right. It is the body of every answer with status 400 and above.
type Error struct {
	Status int    `json:"-"` // the HTTP status
	Text   string `json:"error"`
	Fix    string `json:"fix,omitempty"`
}

// Error joins the reason and the remedy as all messages of catchment do: "what is wrong; what would be right".
func (e *Error) Error() string {
	if e.Fix == "" {
		return e.Text
	}
	return e.Text + "; " + e.Fix
}

// ExitCode is the exit status of a command that was refused (design §15).
func (e *Error) ExitCode() int { return 1 }

// Reply answers 200 with v as JSON. A value that cannot be encoded becomes a 500.
func Reply(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		Refuse(w, http.StatusInternalServerError, fmt.Errorf("encode the answer: %w", err), "")
		return
	}
	write(w, http.StatusOK, body)
}

// Refuse answers with an error status (400 to 599) and an Error as JSON; fix may be empty.
func Refuse(w http.ResponseWriter, status int, err error, fix string) {
	body, jerr := json.Marshal(Error{Text: err.Error(), Fix: fix})
	if jerr != nil {
		body = []byte(`{"error":"the error cannot be encoded"}`)
	}
	write(w, status, body)
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client has hung up: nobody is left to tell
}

// socketPath takes "unix:PATH" or a bare PATH.
func socketPath(address string) string { return strings.TrimPrefix(address, "unix:") }
