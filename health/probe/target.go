package probe

import (
	"context"
	"time"

	"github.com/catchment-net/catchment/internal/underlay"
)

// Target is what a Prober asks. Make one with HTTP, HTTPHost, DNS, DNSName, TCP or Exec.
type Target struct {
	name string
	ask  func(ctx context.Context, network underlay.Net, timeout time.Duration) error
}

// String is how messages call the target: "http://203.0.113.1/health".
func (t Target) String() string { return t.name }
