package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/catchment-net/catchment/internal/event"
)

// Line is one line of the event stream.
type Line struct {
	Seq  uint64 `json:"seq"`            // position in this process's stream; ask for after=Seq+1 to go on behind it
	Lost uint64 `json:"lost,omitempty"` // events before this one that had left the ring when the reader got here
	event.Event
}

// Events serves a ring as NDJSON, one Line a line, from sequence number `after` (default 0: all that are kept; a number
// beyond the newest: only what comes from now on). With
// `follow=1` the stream goes on until the client hangs up or the server stops; a client that reads too slowly for the
// ring misses events and is told how many.
func Events(ring *event.Ring) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seq, follow, err := streamQuery(r)
		if err != nil {
			Refuse(w, http.StatusBadRequest, err, "ask for /v1/events?follow=1&after=0")
			return
		}
		if ring == nil {
			Refuse(w, http.StatusNotFound, fmt.Errorf("this process keeps no events"), "")
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		flush := http.NewResponseController(w)
		enc := json.NewEncoder(w)
		for {
			events, next, lost := ring.After(seq)
			if err := writeLines(enc, events, next, lost); err != nil {
				return // the client has hung up
			}
			if seq = next; !follow || flush.Flush() != nil {
				return
			}
			ring.Follow(r.Context(), seq, func(event.Event) bool { return false }) // sleeps until there is a newer one
			if r.Context().Err() != nil {
				return
			}
		}
	})
}

func streamQuery(r *http.Request) (after uint64, follow bool, err error) {
	q := r.URL.Query()
	if text := q.Get("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, false, fmt.Errorf("after %q: want a sequence number", text)
		}
	}
	switch text := q.Get("follow"); text {
	case "", "0":
		return after, false, nil
	case "1":
		return after, true, nil
	default:
		return 0, false, fmt.Errorf("follow %q: want 0 or 1", text)
	}
}

func writeLines(enc *json.Encoder, events []event.Event, next, lost uint64) error {
	first := next - uint64(len(events))
	for i, e := range events {
		if err := enc.Encode(Line{Seq: first + uint64(i), Lost: lost, Event: e}); err != nil {
			return err
		}
		lost = 0
	}
	return nil
}
