// Making elements. Text goes in as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) {
    if (v !== undefined && v !== null && v !== false) e.setAttribute(k, v === true ? '' : v);
  }
  e.append(...children);
  return e;
}

function svg(tag, attributes, text) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}

const fixed = (t, digits) => t.toFixed(digits);
const clockText = (t) => fixed(t, 3) + ' s';
const msText = (ms) => (ms >= 1000 ? fixed(ms / 1000, 2) + ' s' : ms < 10 ? fixed(ms, 1) + ' ms' : Math.round(ms) + ' ms');
const textWidth = (text) => text.length * 6.3 + 8;

// The colours come eight at a time; a POP after the eighth shares one and is told apart by its label.
function palette(pops) {
  const of = new Map(pops.map((p, i) => [p, i % 8]));
  return (pop) => {
    const first = String(pop || '').split('+')[0];
    return of.has(first) ? of.get(first) : 5;
  };
}

// before is the index of the last item whose value is at most t, or -1; items are in the order of value.
function before(items, value, t) {
  let lo = 0, hi = items.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (value(items[mid]) <= t) lo = mid + 1; else hi = mid;
  }
  return lo - 1;
}
