package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/labs"
)

// info is what another process must know of a lab to drive it.
type info struct {
	Dir   string            `json:"dir"`
	Hosts []string          `json:"hosts"` // of all sites, in file order
	Name  string            `json:"name"`  // the topology's
	Files map[string][]byte `json:"files"` // what the lab came up with; the folder may have been edited since
}

// Serve offers the lab to other processes of this user on a socket in its state folder, until ctx is done or somebody
// asks for its end. It calls ready once the socket answers. The caller still calls Down.
func (l *Lab) Serve(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv, err := admin.New(admin.Options{Socket: l.state.socket(), Ready: func(string) { ready() }, Logger: l.o.Logger})
	if err != nil {
		return err
	}
	srv.Handle("GET /v1/info", func(w http.ResponseWriter, _ *http.Request) {
		admin.Reply(w, info{Dir: l.o.Dir, Hosts: l.Hosts(), Name: l.topo.Name, Files: l.snap.Files})
	})
	srv.Handle("GET /v1/status", l.serveStatus)
	srv.Handle("GET /v1/events", admin.Events(l.ring).ServeHTTP)
	srv.Handle("POST /v1/fault", l.serveFault)
	srv.Handle("POST /v1/sample", l.serveSample)
	srv.Handle("POST /v1/exec", l.serveExec)
	srv.Handle("POST /v1/down", func(w http.ResponseWriter, _ *http.Request) {
		admin.Reply(w, struct{}{})
		cancel()
	})
	return srv.Run(ctx)
}

func (l *Lab) serveStatus(w http.ResponseWriter, r *http.Request) {
	st, err := l.Status(r.Context())
	if err != nil {
		admin.Refuse(w, http.StatusInternalServerError, err, "")
		return
	}
	admin.Reply(w, st)
}

func (l *Lab) serveFault(w http.ResponseWriter, r *http.Request) {
	var f labs.Fault
	if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode fault: %w", err), "")
		return
	}
	if err := l.Do(r.Context(), f); err != nil {
		admin.Refuse(w, http.StatusConflict, err, "")
		return
	}
	admin.Reply(w, struct{}{})
}

// serveSample runs loads for as long as the caller listens and sends it one sample a line.
func (l *Lab) serveSample(w http.ResponseWriter, r *http.Request) {
	var loads []labs.Load
	if err := json.NewDecoder(r.Body).Decode(&loads); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode loads: %w", err), "")
		return
	}
	if !l.sampling.CompareAndSwap(false, true) {
		admin.Refuse(w, http.StatusConflict, errSampling, "wait for its end, or bring up another lab with --name")
		return
	}
	defer l.sampling.Store(false)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	enc := json.NewEncoder(w)
	err := l.sample(r.Context(), loads, func(s labs.Sample) {
		if enc.Encode(s) == nil {
			_ = flush.Flush()
		}
	})
	if err != nil && r.Context().Err() == nil {
		l.o.Logger.Warn("sampling ended", "error", err)
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
}

func (l *Lab) serveExec(w http.ResponseWriter, r *http.Request) {
	var req execRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		admin.Refuse(w, http.StatusBadRequest, fmt.Errorf("decode command: %w", err), "")
		return
	}
	if l.nodes[req.Node] == nil {
		admin.Refuse(w, http.StatusNotFound, l.noNode(req.Node), "")
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := &execStream{enc: json.NewEncoder(w), flush: http.NewResponseController(w)}
	err := l.Exec(r.Context(), req.Node, req.Argv, pipeTo{out, false}, pipeTo{out, true})
	end := execOutput{Done: true}
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Exec returns it bare
		end.Code = exit.ExitCode()
	} else if err != nil {
		end.Fail = err.Error()
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
