package node

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/catchment-net/catchment/health"
)

// healthState lets gossip carry health records without knowing what they are.
type healthState struct{ judge *judge }

// Marshal returns this node's own record.
func (s healthState) Marshal() []byte {
	payload, err := s.judge.record()
	if err != nil {
		s.judge.log.Error("own health record not gossiped", "error", err)
		return nil
	}
	return payload
}

// Merge takes another node's record.
func (s healthState) Merge(payload []byte) error {
	var r health.Record
	if err := r.UnmarshalBinary(payload); err != nil {
		return err
	}
	s.judge.merge(r)
	return nil
}

// targetState carries opinions of sites' own targets.
type targetState struct{ judge *judge }

// Marshal says nothing: opinions are repeated every half second, which is sooner than a full exchange.
func (s targetState) Marshal() []byte { return nil }

// Merge takes another node's opinions.
func (s targetState) Merge(payload []byte) error {
	var sights health.Sights
	if err := sights.UnmarshalBinary(payload); err != nil {
		return err
	}
	s.judge.mergeSights(sights)
	return nil
}

// intentState carries operators' intents.
type intentState struct{ judge *judge }

// Marshal returns all intents, for a full exchange.
func (s intentState) Marshal() []byte { return encodeIntents(s.judge.intents()) }

// encodeIntents never fails: an Intent holds nothing but texts and times.
func encodeIntents(all []health.Intent) []byte {
	payload, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return payload
}

// Merge takes intents from another node.
func (s intentState) Merge(payload []byte) error {
	var all []health.Intent
	if err := json.Unmarshal(payload, &all); err != nil {
		return fmt.Errorf("decode intents: %w", err)
	}
	s.judge.mergeIntents(all)
	return nil
}

// digestState carries the digests of configurations.
type digestState struct{ pools *pools }

// nodeDigest is one node's word on its configuration.
type nodeDigest struct {
	Node   string `json:"node"`
	Digest string `json:"digest"`
}

// Marshal returns this node's own digest.
func (s digestState) Marshal() []byte {
	h := s.pools.hub
	payload, err := json.Marshal(nodeDigest{h.self.Name, h.snap.Load().Digest})
	if err != nil {
		return nil
	}
	return payload
}

// maxDigest bounds a digest: SHA-256 in hexadecimal.
const maxDigest = 64

var errDigest = errors.New("decode digest: it is too long, or empty")

// Merge takes another node's digest.
func (s digestState) Merge(payload []byte) error {
	var d nodeDigest
	if err := json.Unmarshal(payload, &d); err != nil {
		return fmt.Errorf("decode digest: %w", err)
	}
	if d.Digest == "" || len(d.Digest) > maxDigest {
		return errDigest
	}
	h := s.pools.hub
	if d.Node != h.self.Name && h.snap.Load().Topology.Node(d.Node) != nil {
		s.pools.census.hear(h.o.now(), d.Node, d.Digest)
	}
	return nil
}
