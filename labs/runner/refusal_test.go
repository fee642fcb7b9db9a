package runner

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/catchment-net/catchment/admin"
	"github.com/catchment-net/catchment/control"
	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// unable is a lab that can do nothing.
type unable struct {
	labs.Lab
	err error
}

func (u unable) Do(context.Context, labs.Fault) error { return u.err }

// Whether a drill ends with status 1 or 3 must not depend on which process the lab lives in.
func TestRefusalsKeepTheirKind(t *testing.T) {
	for _, tt := range []struct {
		err    error
		cannot bool
	}{
		{&labs.CannotError{What: "slow a link here", Fix: "load sch_netem"}, true},
		{errors.New("no such link"), false},
	} {
		socket := filepath.Join(t.TempDir(), "lab.sock")
		s := Server{Lab: unable{err: tt.err}, Socket: socket, Snap: &control.Snapshot{}, Ring: event.NewRing(event.Options{}), Turn: &Turn{}}
		ctx, cancel := context.WithCancel(t.Context())
		ready, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- s.Serve(ctx, func() { close(ready) }) }()
		<-ready
		r := &Remote{client: admin.Client{Socket: socket}}
		err := r.Do(t.Context(), labs.Fault{Verb: labs.Slow, Subject: "a -> b", Arg: "80ms"})
		_, is := errors.AsType[*labs.CannotError](err)
		if err == nil || is != tt.cannot || err.Error() != tt.err.Error() {
			t.Errorf("%v came back as %v (%T)", tt.err, err, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
