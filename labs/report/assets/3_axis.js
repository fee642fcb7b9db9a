// The one axis of time that all lanes share: which span is in view, how many pixels it has, and its ticks.

class Axis {
  constructor(length) {
    this.length = length;
    this.from = 0;
    this.to = length;
    this.width = 800;
  }
  x(t) { return ((t - this.from) / (this.to - this.from)) * this.width; }
  t(x) { return this.from + (x / this.width) * (this.to - this.from); }
  get span() { return this.to - this.from; }
  get whole() { return this.from <= 0 && this.to >= this.length; }

  // show brings a span into view; it stays inside of the drill and is never shorter than 10 ms.
  show(from, to) {
    const span = Math.min(Math.max(to - from, 0.01), this.length);
    const mid = (from + to) / 2;
    this.from = Math.min(Math.max(mid - span / 2, 0), this.length - span);
    this.to = this.from + span;
  }
  zoom(factor, at) {
    const left = (at - this.from) / this.span;
    const span = Math.min(Math.max(this.span * factor, 0.01), this.length);
    const from = Math.min(Math.max(at - left * span, 0), this.length - span);
    this.from = from;
    this.to = from + span;
  }
  pan(by) { this.show(this.from + by, this.to + by); }

  ticks() {
    const least = (this.span / Math.max(this.width, 100)) * 64;
    let step = Math.pow(10, Math.floor(Math.log10(least)));
    for (const m of [1, 2, 5, 10]) {
      if (step * m >= least) { step *= m; break; }
    }
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const list = [];
    for (let i = Math.ceil(this.from / step - 1e-9); i * step <= this.to + 1e-9; i++) {
      list.push({ t: i * step, text: fixed(i * step, digits) + ' s' });
    }
    return list;
  }
}

// axisRow draws the axis with the steps of the drill as flags.
function axisRow(axis, steps) {
  const strip = svg('svg', { class: 'strip', role: 'img', 'aria-label': 'time axis in seconds' });
  const read = el('div', { class: 'read' });
  const element = el('div', { class: 'axis' }, el('div', { class: 'label' }, 'time'), strip, read);
  const draw = () => {
    strip.replaceChildren();
    for (const { t, text } of axis.ticks()) {
      const x = axis.x(t);
      strip.append(svg('line', { class: 'tick', x1: x, x2: x, y1: 34, y2: 40 }));
      const anchor = x < 14 ? 'start' : x > axis.width - 18 ? 'end' : 'middle';
      strip.append(svg('text', { x: anchor === 'start' ? Math.max(x, 1) : Math.min(x, axis.width - 1), y: 26, 'text-anchor': anchor }, text));
    }
    let free = -Infinity;
    for (const s of steps) {
      const x = axis.x(s.t);
      if (x < -1 || x > axis.width + 1) continue;
      strip.append(svg('path', { class: 'heal', d: `M${x - 4} 2h8l-4 7z`, fill: 'currentColor' }));
      const w = textWidth(s.text);
      const left = x + 7 + w > axis.width ? x - 7 - w : x + 7;
      if (left < free) continue;
      strip.append(svg('text', { class: 'flag', x: left, y: 7 }, s.text));
      free = left + w;
    }
  };
  return { element, strip, read, draw };
}
