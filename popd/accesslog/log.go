package accesslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The defaults and limits of a Log.
const (
	DefaultBuffer = 1 << 20   // bytes of lines that wait to be written
	DefaultRotate = 256 << 20 // bytes after which a file is put aside
	DefaultKeep   = 4         // files that were put aside
	flushEvery    = 200 * time.Millisecond
	maxText       = 4096 // bytes of one text in a line; the rest is cut
)

// Options configures a Log. Only Path is required.
type Options struct {
	Path   string // of the file, whose folder exists; "-" is standard output, which is never rotated
	Format Format // empty means JSON
	Buffer int    // bytes; 0 means DefaultBuffer
	Rotate int64  // bytes; 0 means DefaultRotate
	Keep   int    // files PATH.1 (the newest) to PATH.Keep; 0 means DefaultKeep

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil: metrics are kept but not exported
}

// Log is one access log. Its methods are safe for concurrent use; Run may be called once.
type Log struct {
	o       Options
	append  func([]byte, *Record) []byte
	lines   prometheus.Counter
	dropped prometheus.Counter
	failed  prometheus.Counter
	wake    chan struct{}

	mu  sync.Mutex // guards buf, which Add fills and Run takes
	buf []byte
}

// New checks the options. It opens nothing: what is added before Run waits in the buffer.
func New(o Options) (*Log, error) {
	if o.Path == "" {
		return nil, errors.New("access log: no path; want a file name or -")
	}
	l := &Log{o: o, wake: make(chan struct{}, 1), append: appendJSON}
	switch o.Format {
	case JSON, "":
	case Combined:
		l.append = appendCombined
	default:
		return nil, fmt.Errorf("access log: format %q: want json or combined", o.Format)
	}
	if l.o.Buffer <= 0 {
		l.o.Buffer = DefaultBuffer
	}
	if l.o.Rotate <= 0 {
		l.o.Rotate = DefaultRotate
	}
	if l.o.Keep <= 0 {
		l.o.Keep = DefaultKeep
	}
	if l.o.Logger == nil {
		l.o.Logger = slog.New(slog.DiscardHandler)
	}
	return l, l.register()
}

func (l *Log) register() error {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	l.lines = counter("popd_access_log_lines_total", "Lines taken for the access log.")
	l.dropped = counter("popd_access_log_dropped_total", "Lines dropped because too many waited to be written.")
	l.failed = counter("popd_access_log_failed_bytes_total", "Bytes of the access log lost by failed writes.")
	if l.o.Registerer == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{
		l.lines, l.dropped, l.failed,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "popd_access_log_buffer_bytes", Help: "Bytes of the access log that wait to be written.",
		}, func() float64 { return float64(l.waiting()) }),
	} {
		if err := l.o.Registerer.Register(c); err != nil {
			return fmt.Errorf("register metrics of the access log: %w", err)
		}
	}
	return nil
}

func (l *Log) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buf)
}

// Add takes one line. It never waits for the disk, keeps nothing of r, and allocates nothing once the buffer has grown.
func (l *Log) Add(r *Record) {
	r.Target, r.Host = cut(r.Target), cut(r.Host)
	r.Referer, r.UserAgent = cut(r.Referer), cut(r.UserAgent)
	l.mu.Lock()
	before := len(l.buf)
	l.buf = l.append(l.buf, r)
	after := len(l.buf)
	if after > l.o.Buffer {
		l.buf = l.buf[:before]
		l.mu.Unlock()
		l.dropped.Inc()
		return
	}
	l.mu.Unlock()
	l.lines.Inc()
	if half := l.o.Buffer / 2; before < half && after >= half {
		select {
		case l.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

func cut(s string) string { return s[:min(len(s), maxText)] }

// Run writes until ctx is done, and then what waits. A path that cannot be opened is an error at once; a write that
// fails later costs its lines, which are counted, and the next ones are tried on a file opened anew.
func (l *Log) Run(ctx context.Context) error {
	f := &file{path: l.o.Path, rotate: l.o.Rotate, keep: l.o.Keep}
	if err := f.open(); err != nil {
		return err
	}
	defer f.close()
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var spare []byte
	failing := false
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-tick.C:
		case <-l.wake:
		}
		lines := l.take(spare)
		spare = lines
		err := f.write(lines)
		if err != nil {
			l.failed.Add(float64(len(lines)))
			if !failing {
				l.o.Logger.Error("access log cannot be written", "path", l.o.Path, "error", err)
			}
		}
		failing = err != nil
	}
	return nil
}

// take returns the lines that wait, and gives Add the spare buffer.
func (l *Log) take(spare []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.buf
	l.buf = spare[:0]
	return lines
}
