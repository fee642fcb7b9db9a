package rpki

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The timers where a server gives none, or another than the protocol allows (RFC 8210 §6).
const (
	defaultRefresh, minRefresh, maxRefresh = time.Hour, time.Second, 24 * time.Hour
	defaultRetry, minRetry, maxRetry       = 10 * time.Minute, time.Second, 2 * time.Hour
	defaultExpire, minExpire, maxExpire    = 2 * time.Hour, 10 * time.Minute, 48 * time.Hour
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = time.Minute      // between two PDUs of an answer
	reconnectMax  = 30 * time.Second // to a server that is gone; the retry interval is for one that has no data
	maxVRPs       = 100_000          // about our prefixes, from one server
)

// source is one server and what it has said.
type source struct {
	server   string
	interest []netip.Prefix
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	now      func() time.Time
	report   func(state) // called with each change, from one goroutine

	version uint8
	session uint16
	synced  bool // session and serial count
	serial  uint32
	vrps    map[VRP]bool

	refresh, retry, expire time.Duration
	state                  state
}

// state is what others know of a source.
type state struct {
	table   *Table    // nil before the first End of Data
	expires time.Time // of the table
	err     string    // why there is no connection; "" while there is one
}

// concerns reports whether a VRP says something about our prefixes.
func (s *source) concerns(v VRP) bool { return slices.ContainsFunc(s.interest, v.covers) }

// run asks the server until ctx is done. What it has said holds on when the connection is lost, until it expires.
func (s *source) run(ctx context.Context) {
	s.version, s.refresh, s.retry, s.expire = highestVersion, defaultRefresh, defaultRetry, defaultExpire
	for ctx.Err() == nil {
		err := s.talk(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := min(s.retry, reconnectMax)
		if errors.Is(err, errAgain) {
			wait = 0
		} else if errors.Is(err, errNoData) {
			wait = s.retry
		}
		if wait > 0 {
			s.state.err = err.Error()
			s.report(s.state)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

var (
	errAgain  = errors.New("ask again")                  // with what we know now
	errNoData = errors.New("the server has no data yet") // RFC 8210 §8.4
)

// talk holds one connection.
func (s *source) talk(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := s.dial(dialing, "tcp", s.server)
	if err != nil {
		return fmt.Errorf("connect to RTR server %q: %w", s.server, err)
	}
	pdus, failed, stop := make(chan pdu), make(chan error, 1), make(chan struct{})
	var reading sync.WaitGroup
	defer func() {
		close(stop)
		conn.Close()
		reading.Wait()
	}()
	reading.Go(func() {
		for r := bufio.NewReader(conn); ; {
			p, err := readPDU(r)
			if err != nil {
				failed <- err
				return
			}
			select {
			case pdus <- p:
			case <-stop:
				return
			}
		}
	})
	err = s.converse(ctx, conn, pdus, failed)
	if wrong, ok := errors.AsType[*protocolError](err); ok {
		s.synced = false
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(pdu{version: s.version, kind: errorReport, session: wrong.code, text: wrong.text}.encode())
		return fmt.Errorf("RTR server %q sent %w", s.server, err)
	}
	return err
}

// answer is what has come since a query.
type answer struct {
	full bool // to a Reset Query
	vrps map[VRP]bool
}

// converse asks, takes answers, and asks again when told to or when it is time.
func (s *source) converse(ctx context.Context, conn net.Conn, pdus <-chan pdu, failed <-chan error) error {
	var open *answer // between Cache Response and End of Data
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	asked := true
	if err := s.ask(conn); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				err = errors.New("it closed the connection")
			}
			return fmt.Errorf("RTR server %q: %w", s.server, err)
		case <-timer.C:
			if asked {
				return fmt.Errorf("RTR server %q: no answer within %v", s.server, answerTimeout)
			}
			asked = true
			timer.Reset(answerTimeout)
			if err := s.ask(conn); err != nil {
				return err
			}
		case p := <-pdus:
			again, err := s.take(p, &open, asked)
			switch {
			case err != nil:
				return err
			case p.kind == endOfData:
				asked = false
				timer.Reset(s.refresh)
			case again:
				asked = true
				timer.Reset(answerTimeout)
				if err := s.ask(conn); err != nil {
					return err
				}
			case asked:
				timer.Reset(answerTimeout)
			}
		}
	}
}

// ask sends a Serial Query where we know something, else a Reset Query.
func (s *source) ask(conn net.Conn) error {
	q := pdu{version: s.version, kind: resetQuery}
	if s.synced {
		q = pdu{version: s.version, kind: serialQuery, session: s.session, serial: s.serial}
	}
	if err := conn.SetWriteDeadline(time.Now().Add(dialTimeout)); err != nil {
		return fmt.Errorf("RTR server %q: %w", s.server, err)
	}
	if _, err := conn.Write(q.encode()); err != nil {
		return fmt.Errorf("ask RTR server %q: %w", s.server, err)
	}
	return nil
}

// take follows one PDU, and reports whether to ask again.
func (s *source) take(p pdu, open **answer, asked bool) (again bool, err error) {
	if p.version != s.version && p.kind != errorReport {
		if p.version > s.version || s.synced || *open != nil {
			return false, mistake(unexpectedVersion, "version %d in a session of version %d", p.version, s.version)
		}
		s.version = p.version // RFC 8210 §7: it answers in the version that it speaks
	}
	switch p.kind {
	case serialNotify: // while it answers, the answer brings what it notifies of (RFC 8210 §8.2)
		return !asked && *open == nil && (!s.synced || p.session == s.session && p.serial != s.serial), nil
	case cacheResponse:
		return false, s.begin(p, open, asked)
	case ipv4Prefix, ipv6Prefix:
		if *open == nil {
			return false, mistake(invalidRequest, "a VRP outside an answer")
		}
		return false, s.change(*open, p)
	case endOfData:
		if *open == nil || p.session != s.session {
			return false, mistake(corruptData, "End of Data outside an answer")
		}
		s.commit(*open, p)
		*open = nil
	case cacheReset:
		if !s.synced {
			return false, mistake(corruptData, "Cache Reset though it was asked for all")
		}
		s.synced, *open = false, nil
		return true, nil
	case errorReport:
		return false, s.refused(p)
	case routerKey: // of no use for origins
	default:
		return false, mistake(unsupportedType, "a PDU of type %d, which routers send", p.kind)
	}
	return false, nil
}

func (s *source) begin(p pdu, open **answer, asked bool) error {
	if *open != nil || !asked {
		return mistake(corruptData, "a second answer to one question")
	}
	if s.synced && p.session != s.session { // it was restarted: what we know is of another life (RFC 8210 §5.5)
		s.synced = false
		return fmt.Errorf("RTR server %q began another session: %w", s.server, errAgain)
	}
	*open = &answer{full: !s.synced, vrps: map[VRP]bool{}}
	if s.synced {
		for v := range s.vrps {
			(*open).vrps[v] = true
		}
	}
	s.session = p.session
	return nil
}

func (s *source) change(a *answer, p pdu) error {
	if !s.concerns(p.vrp) {
		return nil
	}
	switch {
	case p.announce && a.vrps[p.vrp]:
		return mistake(duplicateAnnouncement, "%v twice", p.vrp)
	case !p.announce && !a.vrps[p.vrp]:
		return mistake(withdrawalOfUnknown, "a withdrawal of %v, which it had not announced", p.vrp)
	case p.announce:
		a.vrps[p.vrp] = true
	default:
		delete(a.vrps, p.vrp)
	}
	if len(a.vrps) > maxVRPs {
		return mistake(corruptData, "more than %d VRPs about a few prefixes", maxVRPs)
	}
	return nil
}

// commit takes an answer over whole.
func (s *source) commit(a *answer, p pdu) {
	within := func(d, otherwise, lo, hi time.Duration) time.Duration {
		if d == 0 {
			return otherwise
		}
		return min(max(d, lo), hi)
	}
	s.vrps, s.synced, s.serial = a.vrps, true, p.serial
	s.refresh = within(p.refresh, defaultRefresh, minRefresh, maxRefresh)
	s.retry = within(p.retry, defaultRetry, minRetry, maxRetry)
	s.expire = within(p.expire, defaultExpire, minExpire, maxExpire)
	t := &Table{}
	for v := range s.vrps {
		t.all = append(t.all, v)
	}
	s.state = state{table: t, expires: s.now().Add(s.expire)}
	s.report(s.state)
}

// refused acts on an error report; the connection ends with it.
func (s *source) refused(p pdu) error {
	switch {
	case p.session == noDataAvailable:
		return fmt.Errorf("RTR server %q: %w", s.server, errNoData)
	case p.session == unsupportedVersion && s.version > 0:
		s.version, s.synced = s.version-1, false
		return fmt.Errorf("RTR server %q speaks version %d: %w", s.server, s.version, errAgain)
	}
	s.synced = false
	return fmt.Errorf("RTR server %q reports error %d: %q", s.server, p.session, p.text)
}
