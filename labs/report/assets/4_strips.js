// Rows of lanes. Each has an element, draw() for the span in view, and at(t): what it says at a moment, as
// {text, bad, more: lines of detail}; rest is what it says when no moment is chosen.

function rowElement(label, sub, height, about) {
  const strip = svg('svg', { class: 'strip', role: 'img', 'aria-label': about, height });
  strip.style.height = height + 'px';
  const read = el('div', { class: 'read' });
  const name = (label + ' ' + (sub || '')).trim();
  const element = el('div', { class: 'row', 'data-row': name },
    el('div', { class: 'label', title: name }, el('span', { class: 'name' }, label), el('span', { class: 'sub' }, sub || '')), strip, read);
  return { element, strip, read: read, name, label, sub };
}

const bars = (list, height, y) => list.map(([x, w]) => `M${x.toFixed(1)} ${y}h${Math.max(w, 0.8).toFixed(1)}v${height}h${(-Math.max(w, 0.8)).toFixed(1)}z`).join('');

// stateRow shows a row of segments, such as the POP to which a best path leads.
function stateRow(axis, color, data, about) {
  const row = rowElement(data.label, data.sub, 19, about + ' of ' + data.label + ' ' + (data.sub || '') + ': ' +
    data.segments.map((s) => s.text + ' from ' + clockText(s.from)).slice(0, 20).join(', '));
  const kind = (s) => (s.kind === 'pop' ? 'pop' + color(s.pop) : s.kind);
  row.draw = () => {
    row.strip.replaceChildren();
    const solid = new Map();
    for (const s of data.segments) {
      if (s.to < axis.from || s.from > axis.to) continue;
      const from = Math.max(axis.x(s.from), -2), to = Math.min(axis.x(s.to), axis.width + 2);
      const c = kind(s);
      row.strip.append(svg('rect', { class: 'seg ' + c, x: from, y: 1.5, width: Math.max(to - from, 1), height: 16, rx: 1.5 }));
      if (to - from >= textWidth(s.text)) solid.set(s, [Math.max(from, 0) + 5, c]);
    }
    for (const [s, [x, c]] of solid) row.strip.append(svg('text', { class: c, x, y: 10 }, s.text));
    const feet = (data.marks || []).filter((t) => t >= axis.from && t <= axis.to).map((t) => `M${axis.x(t).toFixed(1)} 13.5v4`).join('');
    if (feet) row.strip.append(svg('path', { class: 'asked-foot', d: feet, fill: 'none' }));
  };
  row.at = (t) => {
    const here = data.segments.filter((s) => s.from <= t && t < s.to + 1e-9);
    const s = here[here.length - 1];
    if (!s) return { text: '', more: [] };
    return {
      text: s.text, bad: ['empty', 'none', 'down', 'fault'].includes(s.kind),
      more: [`${s.text}, ${clockText(s.from)} to ${clockText(s.to)}`, s.why].filter(Boolean),
    };
  };
  row.moments = data.segments.map((s) => s.from);
  const changes = Math.max(data.segments.length - 1, 0);
  row.rest = { text: about === 'faults' || !changes ? '' : changes === 1 ? '1 change' : changes + ' changes' };
  return row;
}

// sharesRow is the stacked area of good answers per second by POP, with the lost ones on top.
function sharesRow(axis, color, strips) {
  const height = 84, w = strips.coarse;
  const n = strips.lost.length;
  const width = (b) => Math.max(Math.min(w, axis.length - b * w), 1e-9);
  let most = 1;
  for (let b = 0; b < n; b++) most = Math.max(most, (strips.shares.reduce((sum, s) => sum + s.good[b], 0) + strips.lost[b]) / width(b));
  const row = rowElement('all clients', 'answers/s', height, 'answers per second by POP, stacked, with lost requests on top');
  row.draw = () => {
    row.strip.replaceChildren();
    const base = new Array(n).fill(0);
    const y = (v) => height - 2 - (v / most) * (height - 8);
    const layer = (values, cls) => {
      let d = '';
      for (let b = 0; b < n; b++) {
        if ((b + 1) * w < axis.from || b * w > axis.to || !values[b]) continue;
        const v = values[b] / width(b);
        const x0 = axis.x(b * w), x1 = axis.x(Math.min((b + 1) * w, axis.length));
        d += `M${x0.toFixed(1)} ${y(base[b]).toFixed(1)}V${y(base[b] + v).toFixed(1)}H${(x1 + 0.15).toFixed(1)}V${y(base[b]).toFixed(1)}z`;
        base[b] += v;
      }
      if (d) row.strip.append(svg('path', { class: cls, d }));
    };
    for (const s of strips.shares) layer(s.good, 'pop' + color(s.pop));
    layer(strips.lost, 'loss');
    row.strip.append(svg('text', { class: 'scale', x: 4, y: 9 }, Math.round(most) + '/s'));
  };
  row.at = (t) => {
    const b = Math.min(Math.floor(t / w), n - 1);
    const per = (v) => fixed(v / width(b), v / width(b) < 10 ? 1 : 0) + '/s';
    const parts = strips.shares.filter((s) => s.good[b]).map((s) => `${s.pop} ${per(s.good[b])}`);
    if (strips.lost[b]) parts.push('lost ' + per(strips.lost[b]));
    return { text: parts.join(' · '), bad: strips.lost[b] > 0, more: [`${clockText(b * w)} to ${clockText(Math.min((b + 1) * w, axis.length))}`, ...parts] };
  };
  return row;
}

// hitRow is the share of a POP's good answers that came from its own cache.
function hitRow(axis, color, strips, share) {
  const height = 30, w = strips.coarse;
  const row = rowElement(share.pop, 'hit ratio', height, 'hit ratio of ' + share.pop + ' over time');
  const y = (v) => height - 2 - v * (height - 7);
  row.draw = () => {
    row.strip.replaceChildren(svg('path', { class: 'grid', d: `M0 ${y(1)}H${axis.width}M0 ${y(0)}H${axis.width}`, fill: 'none' }));
    let area = '', edge = '', open = false;
    for (let b = 0; b < share.good.length; b++) {
      if (!share.good[b] || (b + 1) * w < axis.from || b * w > axis.to) { open = false; continue; }
      const x0 = axis.x(b * w).toFixed(1), x1 = axis.x(Math.min((b + 1) * w, axis.length)).toFixed(1);
      const v = y(share.hits[b] / share.good[b]).toFixed(1);
      area += `M${x0} ${y(0)}V${v}H${x1}V${y(0)}z`;
      edge += (open ? 'V' + v : `M${x0} ${v}`) + 'H' + x1;
      open = true;
    }
    const c = color(share.pop);
    row.strip.append(svg('path', { class: 'shade pop' + c, d: area }), svg('path', { class: 'edge stroke' + c, d: edge }));
    row.strip.append(svg('text', { class: 'scale', x: 4, y: 9 }, '100 %'));
  };
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  row.rest = { text: `${fixed((sum(share.hits) / sum(share.good)) * 100, 1)} % of ${sum(share.good)}` };
  row.at = (t) => {
    const b = Math.min(Math.floor(t / w), share.good.length - 1);
    if (!share.good[b]) return { text: 'no answer', more: [] };
    const text = `${fixed((share.hits[b] / share.good[b]) * 100, 1)} % of ${share.good[b]}`;
    return { text, more: [`${clockText(b * w)} to ${clockText(Math.min((b + 1) * w, axis.length))}: ${share.hits[b]} of ${share.good[b]} answers from its own cache`] };
  };
  return row;
}
