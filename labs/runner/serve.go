package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"sync"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// info is what another process must know of a lab to drive it.
type info struct {
	Dir    string            `json:"dir"`
	Hosts  []string          `json:"hosts"` // of all sites, in file order
	Name   string            `json:"name"`  // the topology's
	Runner string            `json:"runner"`
	Files  map[string][]byte `json:"files"` // what the lab came up with; the folder may have been edited since
	Caps   labs.Caps         `json:"caps"`
}

// Server offers a lab to other processes of this user. All fields but Logger are required.
type Server struct {
	Lab    labs.Lab
	Runner string            // "local", "netns", …
	Dir    string            // the lab's folder
	Snap   *control.Snapshot // what it came up with
	Socket string
	Ring   *event.Ring
	Turn   *Turn
	Logger *slog.Logger // nil discards
}

// Hosts are the hosts of all sites, in file order.
func Hosts(snap *control.Snapshot) []string {
	var all []string
	for _, s := range snap.Sites {
		for _, h := range s.Hosts {
			all = append(all, h.Name)
		}
	}
	return all
}

// Serve answers on the socket until ctx is done or somebody asks for the lab's end. It calls ready once the socket
// answers. The caller still calls the lab's Down.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv, err := admin.New(admin.Options{Socket: s.Socket, Ready: func(string) { ready() }, Logger: s.Logger})
	if err != nil {
		return err
	}
	srv.Handle("GET /v1/info", func(w http.ResponseWriter, _ *http.Request) {
		admin.Reply(w, info{Dir: s.Dir, Hosts: Hosts(s.Snap), Name: s.Snap.Topology.Name, Runner: s.Runner, Files: s.Snap.Files, Caps: s.Lab.Caps()})
	})
	srv.Handle("GET /v1/status", s.status)
	srv.Handle("GET /v1/events", admin.Events(s.Ring).ServeHTTP)
	srv.Handle("POST /v1/settle", s.settle)
	srv.Handle("POST /v1/fault", s.fault)
	srv.Handle("POST /v1/sample", s.sample)
	srv.Handle("POST /v1/exec", s.exec)
	srv.Handle("POST /v1/capture", s.capture)
	srv.Handle("POST /v1/down", func(w http.ResponseWriter, _ *http.Request) {
		admin.Reply(w, struct{}{})
		cancel()
	})
	return srv.Run(ctx)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.Lab.Status(r.Context())
	if err != nil {
		admin.Refuse(w, http.StatusInternalServerError, err, "")
		return
	}
	admin.Reply(w, st)
}

func (s *Server) settle(w http.ResponseWriter, r *http.Request) {
	if err := s.Lab.Settle(r.Context()); err != nil {
		admin.Refuse(w, http.StatusConflict, err, "")
		return
	}
	admin.Reply(w, struct{}{})
}

func (s *Server) fault(w http.ResponseWriter, r *http.Request) {
	var f labs.Fault
	if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode fault: %w", err), "")
		return
	}
	if err := s.Lab.Do(r.Context(), f); err != nil {
		if cannot, ok := errors.AsType[*labs.CannotError](err); ok {
			admin.Refuse(w, http.StatusNotImplemented, errors.New(cannot.What), cannot.Fix)
			return
		}
		admin.Refuse(w, http.StatusConflict, err, "")
		return
	}
	admin.Reply(w, struct{}{})
}

// sample runs loads for as long as the caller listens and sends it one sample a line.
func (s *Server) sample(w http.ResponseWriter, r *http.Request) {
	var loads []labs.Load
	if err := json.NewDecoder(r.Body).Decode(&loads); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode loads: %w", err), "")
		return
	}
	done, err := s.Turn.Take()
	if err != nil {
		admin.Refuse(w, http.StatusConflict, err, "wait for its end, or bring up another lab with --name")
		return
	}
	defer done()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	enc := json.NewEncoder(w)
	err = s.Lab.Sample(r.Context(), loads, func(one labs.Sample) {
		if enc.Encode(one) == nil {
			_ = flush.Flush()
		}
	})
	if err != nil && r.Context().Err() == nil {
		s.Logger.Warn("sampling ended", "error", err)
	}
}

// execRequest is a command to run beside a node.
type execRequest struct {
	Node string   `json:"node"`
	Argv []string `json:"argv"`
}

// execOutput is one piece of what it prints, or its end.
type execOutput struct {
	Out  []byte `json:"out,omitempty"`
	Err  []byte `json:"err,omitempty"`
	Done bool   `json:"done,omitempty"`
	Code int    `json:"code,omitempty"`
	Fail string `json:"fail,omitempty"`

	Cannot *labs.CannotError `json:"cannot,omitempty"`
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	var req execRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode command: %w", err), "")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := &execStream{enc: json.NewEncoder(w), flush: http.NewResponseController(w)}
	err := s.Lab.Exec(r.Context(), req.Node, req.Argv, pipeTo{out, false}, pipeTo{out, true})
	end := execOutput{Done: true}
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Exec returns it bare
		end.Code = exit.ExitCode()
	} else if err != nil {
		end.Fail = err.Error()
	}
	out.send(end)
}

// captureRequest names the link whose packets are wanted.
type captureRequest struct {
	Link string `json:"link"`
}

// capture sends packets as pieces of output for as long as the caller listens.
func (s *Server) capture(w http.ResponseWriter, r *http.Request) {
	var req captureRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode link: %w", err), "")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := &execStream{enc: json.NewEncoder(w), flush: http.NewResponseController(w)}
	end := execOutput{Done: true}
	if err := s.Lab.Capture(r.Context(), req.Link, pipeTo{out, false}); err != nil {
		end.Fail = err.Error()
		if cannot, ok := errors.AsType[*labs.CannotError](err); ok {
			end.Cannot = cannot
		}
	}
	out.send(end)
}

// execStream sends pieces of output in the order in which they come.
type execStream struct {
	mu    sync.Mutex // guards the following
	enc   *json.Encoder
	flush *http.ResponseController
}

func (s *execStream) send(o execOutput) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.enc.Encode(o) == nil {
		_ = s.flush.Flush()
	}
}

// pipeTo is one of the two streams of a command.
type pipeTo struct {
	stream *execStream
	errors bool
}

var _ io.Writer = pipeTo{}

// Write sends one piece.
func (p pipeTo) Write(b []byte) (int, error) {
	if p.errors {
		p.stream.send(execOutput{Err: b})
	} else {
		p.stream.send(execOutput{Out: b})
	}
	return len(b), nil
}
