package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/catchment-net/catchment/internal/event"
	"github.com/catchment-net/catchment/labs"
)

// Options configures a run. The zero value of each field is its default.
type Options struct {
	Out      io.Writer     // the live timeline and the verdicts; nil prints nothing
	Color    bool          // Out is a terminal
	Converge time.Duration // how long the lab may take until all requests are answered; 0 means 30 s
	Seed     uint64        // shifts when each client asks; recorded in the Report
	Run      int           // recorded in the Report: which repetition this is, from 1; 0 without any
	Runs     int           // of how many

	Now  func() time.Time // nil means time.Now
	Mono func() int64     // nil means event.Mono; must be the clock of the lab's samples and events
}

// steady is how many requests in a row must be answered before the clock starts; slow loads need one.
const steady = 3

// converge is how long a lab may take if Options say nothing.
const converge = 30 * time.Second

// undoWithin bounds the healing of what an interrupted drill leaves broken.
const undoWithin = 15 * time.Second

// Run runs the drill in the lab and judges it. The error says that no verdict could be reached: a *LacksError before
// anything was done, a lab that did not converge, a step that failed, a ctx that ended. What the drill broke and did not
// undo is healed before Run returns.
func Run(ctx context.Context, lab labs.Lab, d *Drill, o Options) (*Report, error) {
	if err := d.Check(lab.Caps()); err != nil {
		return nil, err
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Converge <= 0 {
		o.Converge = converge
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Mono == nil {
		o.Mono = event.Mono
	}
	if err := settle(ctx, lab, o.Out); err != nil {
		return nil, err
	}
	status, err := lab.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the lab for its state: %w", err)
	}
	r := &run{
		lab: lab, d: d, o: o, news: make(chan struct{}, 1),
		rec: &Recording{Lab: status.Name, Runner: status.Runner, Seed: o.Seed, Lets: map[string]string{}},
	}
	return r.run(ctx)
}

// settle waits until the lab stands as it did when it came up, and says so where that takes long.
func settle(ctx context.Context, lab labs.Lab, out io.Writer) error {
	said := make(chan struct{})
	slow := time.AfterFunc(time.Second, func() {
		defer close(said)
		fmt.Fprintln(out, "waiting until the lab stands as it did when it came up")
	})
	err := lab.Settle(ctx)
	if !slow.Stop() {
		<-said
	}
	if err != nil {
		return fmt.Errorf("before the drill: %w", err)
	}
	return nil
}

// run is one run. All but the fields under mu belongs to the goroutine of Run.
type run struct {
	lab labs.Lab
	d   *Drill
	o   Options
	rec *Recording
	out *timeline

	news chan struct{} // something was recorded
	mu   sync.Mutex    // guards the following; recorders append, the loop reads
	got  struct {
		samples []labs.Sample
		events  []event.Event
		origins []OriginReading
		err     error // why a recorder ended by itself
	}
	samplesShown, eventsShown int
}

func (r *run) run(ctx context.Context) (*Report, error) {
	recording, stop := context.WithCancel(ctx)
	var recorders sync.WaitGroup
	recorders.Go(func() {
		r.ended(recording, "record events", r.lab.Events(recording, func(e event.Event) { r.record(nil, &e) }))
	})
	recorders.Go(func() {
		r.ended(recording, "send requests", r.lab.Sample(recording, r.loads(), func(s labs.Sample) { r.record(&s, nil) }))
	})
	err := r.conduct(ctx)
	err = errors.Join(err, r.undo(context.WithoutCancel(ctx)))
	stop()
	recorders.Wait()
	if err != nil {
		return nil, err
	}
	r.rec.Samples, r.rec.Events = r.got.samples, r.got.events
	r.rec.Origins = r.got.origins
	report := Evaluate(r.d, r.rec)
	report.Run, report.Runs = r.o.Run, r.o.Runs
	r.out.verdicts(report)
	return report, nil
}

// loads are the drill's, with the seed.
func (r *run) loads() []labs.Load {
	loads := slices.Clone(r.d.Loads)
	for i := range loads {
		loads[i].Seed = r.o.Seed
	}
	return loads
}

func (r *run) record(s *labs.Sample, e *event.Event) {
	r.mu.Lock()
	if s != nil {
		r.got.samples = append(r.got.samples, *s)
	}
	if e != nil {
		r.got.events = append(r.got.events, *e)
	}
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// ended notes a recorder that ended before it should.
func (r *run) ended(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("the lab ended it")
	}
	r.mu.Lock()
	r.got.err = errors.Join(r.got.err, fmt.Errorf("%s: %w", what, err))
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// conduct waits for steady requests, starts the clock and carries out the timeline.
func (r *run) conduct(ctx context.Context) error {
	if err := r.converge(ctx); err != nil {
		return err
	}
	status, err := r.lab.Status(ctx)
	if err != nil {
		return fmt.Errorf("ask the lab for its state: %w", err)
	}
	r.rec.Routers = status.Routers
	if err := r.lets(); err != nil {
		return err
	}
	r.rec.Started, r.rec.Zero = r.o.Now(), r.o.Mono()
	r.out = newTimeline(r.o.Out, r.o.Color, r.d.Loads, r.rec.Zero)
	r.mu.Lock()
	r.samplesShown, r.eventsShown = len(r.got.samples), len(r.got.events)
	r.mu.Unlock()
	for _, l := range r.d.Lets {
		r.out.line(r.rec.Zero, fmt.Sprintf("%s is %s", l.Name, r.rec.Lets[l.Name]))
	}
	metering, stop := context.WithCancel(ctx)
	var meters sync.WaitGroup
	defer meters.Wait()
	defer stop()
	meters.Go(func() { r.rec.Lateness = lateness(metering, r.o.Mono) })
	if r.d.counts() {
		meters.Go(func() { r.countOrigins(metering) })
	}
	for i := 0; i < len(r.d.Steps); {
		if err := r.await(ctx, r.d.Steps[i].At); err != nil {
			return err
		}
		n := i + 1
		for n < len(r.d.Steps) && r.d.Steps[n].At == r.d.Steps[i].At {
			n++
		}
		if err := r.do(ctx, r.d.Steps[i:n]); err != nil {
			return err
		}
		i = n
	}
	return r.await(ctx, r.d.End)
}

// converge returns when the last requests of every client and load were answered. A wrong body is an answer: the system
// runs, and what it says is for the expectations to judge, not a reason to wait.
func (r *run) converge(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.o.Converge, fmt.Errorf("no steady answers within %v", r.o.Converge))
	defer cancel()
	for {
		bad, err := r.unsteady()
		if err != nil {
			return err
		}
		if bad == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the lab to converge: %w; %s", context.Cause(ctx), bad)
		case <-r.news:
		}
	}
}

// answered says that a request got a whole answer, right or wrong.
func answered(s labs.Sample) bool { return s.OK || s.WrongBody }

// unsteady names a client and load whose last requests were not all answered.
func (r *run) unsteady() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.got.err != nil {
		return "", r.got.err
	}
	good, last := map[pair]int{}, map[pair]string{}
	for _, s := range r.got.samples {
		p := pair{s.Client, s.Load}
		if last[p] = s.Error; answered(s) {
			good[p]++
		} else {
			good[p] = 0
		}
	}
	for _, client := range clients(r.d.topo) {
		for i := range r.d.Loads {
			l := &r.d.Loads[i]
			p := pair{client, l.Name}
			need := steady
			if l.Rate < steady {
				need = 1
			}
			if !sends(l, client) || good[p] >= need {
				continue
			}
			if last[p] == "" {
				return fmt.Sprintf("%s has had %d answers in a row, want %d", p, good[p], need), nil
			}
			return fmt.Sprintf("%s: %s", p, last[p]), nil
		}
	}
	return "", nil
}

// lets finds the POP of each let in the last answers.
func (r *run) lets() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.d.Lets {
		want := pair{l.call.args[0].text, l.call.args[1].text}
		pop := ""
		for _, s := range r.got.samples {
			if !answered(s) || (pair{s.Client, s.Load}) != want {
				continue
			}
			if pop = s.POP; l.call.text == "dns" {
				pop = s.DNSPOP
			}
		}
		if r.d.topo.POP(pop) == nil {
			return fmt.Errorf("let %q: %s(%s, %s) is %q, no POP", l.Name, l.call.text, want.client, want.load, pop)
		}
		r.rec.Lets[l.Name] = pop
	}
	return nil
}

// await shows what is recorded until a time of the clock.
func (r *run) await(ctx context.Context, at time.Duration) error {
	due := r.rec.Zero + int64(at)
	for {
		r.show()
		now := r.o.Mono()
		if now >= due {
			return nil
		}
		wake := time.NewTimer(min(time.Duration(due-now), 100*time.Millisecond))
		select {
		case <-ctx.Done():
			wake.Stop()
			return fmt.Errorf("drill interrupted at %v: %w", Span(r.o.Mono()-r.rec.Zero), context.Cause(ctx))
		case <-wake.C:
		}
		r.mu.Lock()
		err := r.got.err
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// show prints what has been recorded since it was called last.
func (r *run) show() {
	r.mu.Lock()
	samples, events := r.got.samples[r.samplesShown:], r.got.events[r.eventsShown:]
	r.samplesShown, r.eventsShown = len(r.got.samples), len(r.got.events)
	r.mu.Unlock()
	for _, e := range events {
		r.out.event(e)
	}
	for _, s := range samples {
		r.out.sample(s)
	}
	now := r.o.Mono()
	r.out.flush(now - together)
	r.out.tick(now)
}

// do carries out the steps of one time at once.
func (r *run) do(ctx context.Context, steps []Step) error {
	records := make([]FaultRecord, len(steps))
	failed := make([]error, len(steps))
	var all sync.WaitGroup
	for i, s := range steps {
		f := s.Fault
		if pop, ok := r.rec.Lets[f.Subject]; ok {
			f.Subject = pop
		}
		records[i] = FaultRecord{Fault: s.Fault, At: s.At, Start: r.o.Mono()}
		r.out.fault(records[i].Start, f.String())
		all.Go(func() {
			if err := r.lab.Do(ctx, f); err != nil {
				failed[i] = fmt.Errorf("%s %q: %w", f.Verb, f.Subject, err)
			}
			records[i].Done = r.o.Mono()
		})
	}
	all.Wait()
	r.rec.Faults = append(r.rec.Faults, records...)
	return errors.Join(failed...)
}

// undo heals what the steps so far have broken and no later one has undone, so that the lab can be used again.
func (r *run) undo(ctx context.Context) error {
	var order []string
	broken := map[string][]labs.Verb{}
	for _, f := range r.rec.Faults {
		subject := f.Subject
		if pop, ok := r.rec.Lets[subject]; ok {
			subject = pop
		}
		if undone := undoes(f.Verb); undone != nil {
			broken[subject] = slices.DeleteFunc(broken[subject], func(v labs.Verb) bool { return slices.Contains(undone, v) })
			continue
		}
		if !slices.Contains(order, subject) {
			order = append(order, subject)
		}
		broken[subject] = append(broken[subject], f.Verb)
	}
	ctx, cancel := context.WithTimeout(ctx, undoWithin)
	defer cancel()
	var errs []error
	for _, subject := range order {
		if len(broken[subject]) == 0 {
			continue
		}
		if err := r.lab.Do(ctx, labs.Fault{Verb: labs.Heal, Subject: subject}); err != nil {
			errs = append(errs, fmt.Errorf("heal %q after the drill: %w", subject, err))
		}
	}
	return errors.Join(errs...)
}
