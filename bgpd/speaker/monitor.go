package speaker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// Monitors hear what this speaker hears. gobgp feeds them.
type Monitors struct {
	BMP []string // HOST:PORT of collectors (RFC 7854); all policies: what neighbours send, before and after our rules, and the best paths
	MRT MRT
}

// MRT is a file of the UPDATEs that neighbours send (RFC 6396).
type MRT struct {
	File   string        // absolute; empty keeps none. The library reads it as a layout of time.Format
	Rotate time.Duration // how often the next file begins, a minute at least; 0 means never
}

func (m Monitors) check() error {
	var errs []error
	for _, at := range m.BMP {
		if _, err := toBMP(at); err != nil {
			errs = append(errs, err)
		}
	}
	if m.MRT.File != "" && (!filepath.IsAbs(m.MRT.File) || m.MRT.Rotate < 0) {
		errs = append(errs, fmt.Errorf("MRT file %q rotated each %v: want an absolute path and no negative time", m.MRT.File, m.MRT.Rotate))
	}
	return errors.Join(errs...)
}

func toBMP(at string) (*api.AddBmpRequest, error) {
	host, digits, err := net.SplitHostPort(at)
	port, numErr := strconv.ParseUint(digits, 10, 16)
	if err := errors.Join(err, numErr); err != nil || host == "" || port == 0 {
		return nil, fmt.Errorf("BMP collector %q: want HOST:PORT", at)
	}
	return &api.AddBmpRequest{Address: host, Port: uint32(port), Policy: api.AddBmpRequest_ALL, SysName: "catchment", SysDescr: "catchment bgpd"}, nil
}

// SetMonitors makes the monitors be exactly these. Those that stay notice nothing. An MRT file that is being written
// cannot be changed: gobgp v3.37.0 forgets which one its DisableMrt was asked to end.
func (s *Speaker) SetMonitors(want Monitors) error {
	if err := want.check(); err != nil {
		return err
	}
	s.peers.Lock()
	defer s.peers.Unlock()
	old := s.monitors
	if s.started && old.MRT.File != "" && want.MRT != old.MRT {
		return fmt.Errorf("MRT file %q cannot be given up while the speaker runs; restart to take the change up", old.MRT.File)
	}
	s.monitors = want
	s.feedsBMP.Store(len(want.BMP) > 0)
	if !s.started || s.closing {
		return nil
	}
	return monitor(context.Background(), s.library(), old, want)
}

// monitor changes what gobgp feeds from one set to another.
func monitor(ctx context.Context, b *server.BgpServer, old, want Monitors) error {
	var errs []error
	for _, at := range old.BMP {
		if r, err := toBMP(at); err == nil && !slices.Contains(want.BMP, at) {
			errs = append(errs, b.DeleteBmp(ctx, &api.DeleteBmpRequest{Address: r.Address, Port: r.Port}))
		}
	}
	for _, at := range want.BMP {
		if slices.Contains(old.BMP, at) {
			continue
		}
		r, err := toBMP(at)
		if err == nil {
			err = b.AddBmp(ctx, r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("feed BMP collector %q: %w", at, err))
		}
	}
	if old.MRT != want.MRT && want.MRT.File != "" {
		if err := b.EnableMrt(ctx, &api.EnableMrtRequest{
			Type: api.EnableMrtRequest_UPDATES, Filename: want.MRT.File, RotationInterval: uint64(want.MRT.Rotate / time.Second),
		}); err != nil {
			errs = append(errs, fmt.Errorf("write MRT file %q: %w", want.MRT.File, err))
		}
	}
	return errors.Join(errs...)
}
