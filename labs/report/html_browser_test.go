package report

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/labs/drill"
)

// patience bounds each browser test.
const patience = time.Minute

// browser is one tab of a headless Chromium of its own, and what its console said.
type browser struct {
	ctx  context.Context
	mu   sync.Mutex // guards said, which the goroutine of open appends to
	said []string
}

// open shows the page of some runs from a file, as its readers do. Tests without a Chromium on PATH are skipped.
func open(t *testing.T, width, height int64, runs ...*drill.Report) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium on PATH (Debian: chromium)")
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, written(t, runs...), 0o600); err != nil {
		t.Fatal(err)
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Headless,
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(patience),
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	b := &browser{ctx: ctx}
	console := chromedp.Console(ctx) // subscribes, and starts the browser
	go func() {
		for m, err := range console {
			if err != nil {
				return // the tab was closed
			}
			b.mu.Lock()
			b.said = append(b.said, m.String())
			b.mu.Unlock()
		}
	}()
	view := []chromedp.EmulateViewportOption{}
	if width < 600 {
		view = append(view, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	b.do(t, chromedp.EmulateViewport(width, height, view...), chromedp.Navigate("file://"+file), chromedp.WaitVisible(chromedp.CSS(".lanes .chart")))
	return b
}

// do carries out steps one after the other.
func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// get carries out one action for its value.
func get[T any](t *testing.T, b *browser, a chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// value evaluates a script.
func value[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	return get(t, b, chromedp.Evaluate[T](script))
}

// run evaluates a script for what it does.
func (b *browser) run(t *testing.T, script string) {
	t.Helper()
	b.do(t, chromedp.Evaluate[chromedp.Void](script))
}

// until waits for a condition of the page.
func (b *browser) until(t *testing.T, condition string) {
	t.Helper()
	b.do(t, chromedp.Poll[chromedp.Void](condition, chromedp.WithPollingTimeout(patience)))
}

// silent fails the test if the console said anything.
func (b *browser) silent(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.said) > 0 {
		t.Errorf("the console says: %s", strings.Join(b.said, "\n"))
	}
}

// shot keeps a picture of the whole page for people to look at, in $CATCHMENT_SHOTS.
func (b *browser) shot(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("CATCHMENT_SHOTS")
	if dir == "" {
		return
	}
	picture := get(t, b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(dir, name), picture, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBrowserShowsTheReport(t *testing.T) {
	r := failing().report(t)
	b := open(t, 1400, 900, r)
	rows := value[map[string]int](t, b, `Object.fromEntries([...document.querySelectorAll('.lane')].map(l => [l.dataset.lane, l.querySelectorAll('.row').length]))`)
	want := map[string]int{"faults": 1, "routes": 16, "dns": 12, "views": 5, "results": 12, "shares": 1, "hits": 3}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows of the lanes (-want +got):\n%s", diff)
	}
	drawn := value[int](t, b, `[...document.querySelectorAll('.row .strip')].filter(s => s.querySelector('path, rect')).length`)
	if drawn != 50 {
		t.Errorf("%d rows are drawn, want all 50", drawn)
	}
	sum := total(r)
	numbers := value[map[string]string](t, b, `Object.fromEntries([...document.querySelectorAll('.tiles [data-num]')].map(e => [e.dataset.num, e.textContent]))`)
	for name, want := range map[string]string{
		"lost": count(sum.Lost), "samples": count(sum.Samples), "longest": span(sum.Longest), "wrong": count(sum.WrongBodies),
		"empty": count(sum.EmptyAnswers), "withdrawal-ipv4": span(sum.Withdrawal["ipv4"]), "withdrawal-ipv6": span(sum.Withdrawal["ipv6"]),
	} {
		if numbers[name] != want {
			t.Errorf("%s is %q, want %q", name, numbers[name], want)
		}
	}
	for _, c := range r.Clients {
		for load, l := range c.Loads {
			got := value[string](t, b, fmt.Sprintf(`document.querySelector('.lane[data-lane=results] [data-row="%s %s"] .read').textContent`, c.Client, load))
			want := fmt.Sprintf("%d good", l.Samples)
			switch {
			case l.WrongBodies > 0 && l.WrongBodies == l.Lost:
				want = fmt.Sprintf("%d wrong of %d", l.WrongBodies, l.Samples)
			case l.WrongBodies > 0:
				want = fmt.Sprintf("%d lost, %d wrong of %d", l.Lost-l.WrongBodies, l.WrongBodies, l.Samples)
			case l.Lost > 0:
				want = fmt.Sprintf("%d lost of %d", l.Lost, l.Samples)
			}
			if got != want {
				t.Errorf("%s/%s: the lane says %q, want %q", c.Client, load, got, want)
			}
		}
	}
	list, _, _ := outages(r, newTrace(r))
	if got := value[int](t, b, `document.querySelectorAll('.outage').length`); got != len(list) {
		t.Errorf("%d outages are shown, want %d", got, len(list))
	}
	b.silent(t)
	b.shot(t, "failing-light.png")
}

func TestBrowserTheme(t *testing.T) {
	b := open(t, 1400, 900, failing().report(t))
	ground := `getComputedStyle(document.body).backgroundColor`
	light := value[string](t, b, ground)
	b.do(t, chromedp.Click(chromedp.CSS("#theme")))
	if dark := value[string](t, b, ground); dark == light {
		t.Errorf("the theme's button changes nothing: %s", dark)
	}
	b.shot(t, "failing-dark.png")
	b.do(t, chromedp.Click(chromedp.CSS("#theme")))
	if back := value[string](t, b, ground); back != light {
		t.Errorf("got %s after two clicks, want %s", back, light)
	}
	b.silent(t)
}

func TestBrowserZoomsAndReads(t *testing.T) {
	b := open(t, 1400, 900, scene{}.report(t))
	view := func() string {
		return value[string](t, b, `(c => c.dataset.from + ' ' + c.dataset.to)(document.querySelector('.chart'))`)
	}
	if got := view(); got != "0.000 23.000" {
		t.Fatalf("the view begins as %q", got)
	}
	b.do(t, chromedp.Click(chromedp.CSS(`.bar-tools button[aria-label^="zoom to kill ams"]`)))
	if got := view(); got != "2.501 7.501" {
		t.Errorf("after the step's button the view is %q", got)
	}
	b.do(t, chromedp.Focus(chromedp.CSS(".chart")), chromedp.KeyEvent("0"))
	if got := view(); got != "0.000 23.000" {
		t.Errorf("after 0 the view is %q", got)
	}
	wheel := `document.querySelector('.axis .strip').dispatchEvent(new WheelEvent('wheel', {deltaY: -120, clientX: 600, bubbles: true, cancelable: true}))`
	b.run(t, wheel)
	b.until(t, `document.querySelector('.chart').dataset.to !== '23.000'`)
	b.do(t, chromedp.KeyEvent("0"), chromedp.KeyEvent("n"))
	read := func(row string) string {
		return value[string](t, b, fmt.Sprintf(`document.querySelector('[data-row="%s"] .read').textContent`, row))
	}
	// From the middle, the next change is the heal; just after it the routers lead back.
	for range 2 {
		b.do(t, chromedp.KeyEvent("n"))
	}
	for row, want := range map[string]string{"arc 192.0.2.0/24": "ams", "tokyo 192.0.2.0/24": "sin", "nyc1 sees ams": "down"} {
		if got := read(row); got != want {
			t.Errorf("%s reads %q at the crosshair, want %q", row, got, want)
		}
	}
	if said := value[string](t, b, `document.querySelector('[aria-live]').textContent`); !strings.Contains(said, "nyc1 sees ams: down") {
		t.Errorf("the live region says %q", said)
	}
	b.do(t, chromedp.SendKeys(chromedp.CSS(".filter"), "berlin"))
	if got := value[int](t, b, `[...document.querySelectorAll('.row')].filter(r => r.offsetParent).length`); got != 2+2+2 {
		t.Errorf("%d rows are left after filtering for berlin, want its 2 routes, 2 answers and 2 results", got)
	}
	b.silent(t)
}

func TestBrowserNumbersExplainThemselves(t *testing.T) {
	b := open(t, 1400, 900, scene{}.report(t))
	shown := `[...document.querySelectorAll('.tip')].filter(e => e.offsetParent).map(e => e.textContent).join('|')`
	if got := value[string](t, b, shown); got != "" {
		t.Errorf("evidence is open before a tap: %q", got)
	}
	b.do(t, chromedp.Click(chromedp.CSS(`.outage .num[data-num=detection]`)))
	if got := value[string](t, b, shown); !strings.Contains(got, "nyc1: pop/ams/dns down") {
		t.Errorf("a tap on detection shows %q", got)
	}
	b.silent(t)
}

// The page gives back the report that it was made of, with every request.
func TestBrowserGivesTheRecordBack(t *testing.T) {
	r := scene{length: 15 * time.Second, rate: 5}.report(t)
	b := open(t, 1400, 900, r)
	b.run(t, `URL.createObjectURL = (blob) => { window.saved = blob; return 'data:,'; }; HTMLAnchorElement.prototype.click = () => {};`)
	b.do(t, chromedp.Click(chromedp.CSS(".save")))
	text := get(t, b, chromedp.Evaluate[string](`window.saved.text()`, chromedp.EvalAwaitPromise))
	var back drill.Report
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(&back)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%d bytes came back that differ from the report's %d", len(got), len(want))
	}
	b.silent(t)
}

func TestBrowserPrints(t *testing.T) {
	b := open(t, 1400, 900, failing().report(t))
	pdf := get(t, b, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize(), chromedp.PDFPrintBackground()))
	if !strings.HasPrefix(string(pdf), "%PDF-") || len(pdf) < 20000 {
		t.Errorf("printing gives %d bytes that begin with %s", len(pdf), base64.StdEncoding.EncodeToString(pdf[:min(len(pdf), 8)]))
	}
	if dir := os.Getenv("CATCHMENT_SHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "failing.pdf"), pdf, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.silent(t)
}

func TestBrowserOnAPhone(t *testing.T) {
	b := open(t, 390, 844, failing().report(t))
	if wide := value[int](t, b, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("the page is %d pixels wide on a phone of 390", wide)
	}
	b.silent(t)
	b.shot(t, "failing-phone.png")
}

func TestBrowserSeveralRuns(t *testing.T) {
	good, bad := scene{}.report(t), failing().report(t)
	b := open(t, 1400, 900, good, bad, good)
	b.do(t, chromedp.Click(chromedp.CSS(`[data-pick="1"]`)))
	if got := value[string](t, b, `[...document.querySelectorAll('.run')].filter(r => !r.hidden).map(r => r.dataset.run + r.querySelector('.verdict').textContent).join()`); got != "1FAIL" {
		t.Errorf("after choosing run 2 the page shows %q", got)
	}
	if got := value[int](t, b, `document.querySelectorAll('#lanes-1 .row').length`); got != 50 {
		t.Errorf("the second run has %d rows, want 50", got)
	}
	b.silent(t)
	b.shot(t, "several.png")
}

func TestBrowserLongDrill(t *testing.T) {
	b := open(t, 1400, 900, scene{length: 600 * time.Second}.report(t))
	if got := value[int](t, b, `document.querySelectorAll('.lane[data-lane=results] .typical').length`); got != 12 {
		t.Errorf("%d density strips, want 12", got)
	}
	took := value[float64](t, b, `(() => { const t = performance.now(); for (let i = 0; i < 5; i++) document.querySelector('.bar-tools button[aria-label="zoom in"]').click(); return (performance.now() - t) / 5; })()`)
	if took > 500 {
		t.Errorf("drawing takes %.0f ms, want at most 500", took)
	}
	b.silent(t)
	b.shot(t, "long.png")
}

func TestBrowserKeepsHostileTextsAsTexts(t *testing.T) {
	r := scene{error: hostile}.report(t)
	for i := range r.Events {
		r.Events[i].Cause = hostile
	}
	r.Clients[0].City, r.Expectations[0].Found = hostile, hostile
	b := open(t, 1400, 900, r)
	b.run(t, `for (const d of document.querySelectorAll('details')) d.open = true;`)
	b.until(t, `document.querySelector('.requests tbody tr') !== null`)
	if got := value[int](t, b, `document.querySelectorAll('img').length`); got != 0 {
		t.Errorf("%d images have been made of texts", got)
	}
	b.silent(t)
}
