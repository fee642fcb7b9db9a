// How the chart is steered: mouse, wheel, fingers, keys, and the toolbar.

function gestures(c) {
  const { box, axis, top } = c;
  const left = () => top.strip.getBoundingClientRect().left;
  const timeAt = (e) => Math.min(Math.max(axis.t(e.clientX - left()), axis.from), axis.to);
  const rowAt = (e) => c.rows.find((r) => r.element === (e.target.closest && e.target.closest('.row')));
  const inStrip = (e) => e.clientX >= left() && e.clientX <= left() + axis.width;
  const fingers = new Map();
  let held = null;

  box.addEventListener('pointerdown', (e) => {
    if (!inStrip(e) || e.button > 0 || e.target.closest('summary')) return;
    fingers.set(e.pointerId, e.clientX);
    held = { x: e.clientX, pan: e.pointerType === 'touch' || !!e.target.closest('.axis') || e.shiftKey, from: axis.from, to: axis.to, moved: false };
    if (e.pointerType !== 'touch') box.setPointerCapture(e.pointerId);
  });
  box.addEventListener('pointermove', (e) => {
    if (fingers.has(e.pointerId)) {
      if (fingers.size === 2) { pinch(e); return; }
      drag(e);
    }
    if (e.pointerType === 'touch' && held && held.moved) return;
    if (!inStrip(e)) { leave(); return; }
    c.t = timeAt(e);
    c.row = rowAt(document.elementFromPoint(e.clientX, e.clientY) ? { target: document.elementFromPoint(e.clientX, e.clientY) } : e) || null;
    c.point();
    c.tell(e.clientX, e.clientY);
  });
  const drag = (e) => {
    const dx = e.clientX - held.x;
    if (Math.abs(dx) < 4 && !held.moved) return;
    held.moved = true;
    if (!held.pan) { c.drag(held.x - left(), e.clientX - left()); return; }
    const per = (held.to - held.from) / axis.width;
    axis.show(held.from - dx * per, held.to - dx * per);
    c.redraw();
  };
  const pinch = (e) => {
    const [a, b] = [...fingers.values()];
    fingers.set(e.pointerId, e.clientX);
    const [p, q] = [...fingers.values()];
    const was = Math.max(Math.abs(a - b), 20), is = Math.max(Math.abs(p - q), 20);
    axis.zoom(was / is, axis.t((p + q) / 2 - left()));
    held.moved = true;
    c.redraw();
  };
  const release = (e) => {
    if (!fingers.delete(e.pointerId) || !held) return;
    if (held.moved && !held.pan && e.type === 'pointerup') {
      const [a, b] = [held.x, e.clientX].sort((x, y) => x - y).map((x) => axis.t(x - left()));
      axis.show(a, b);
    }
    if (!held.moved && e.type === 'pointerup') {
      c.t = timeAt(e);
      c.row = rowAt(e) || c.row;
      c.point();
      c.tell(e.clientX, e.clientY);
    }
    c.drag(0, 0);
    held = null;
    c.redraw();
  };
  box.addEventListener('pointerup', release);
  box.addEventListener('pointercancel', release);
  const leave = () => { c.t = null; c.row = null; c.point(); c.tell(); };
  box.addEventListener('pointerleave', (e) => { if (e.pointerType !== 'touch') leave(); });
  box.addEventListener('dblclick', (e) => { if (inStrip(e)) { axis.show(0, axis.length); c.redraw(); } });
  // The wheel scrolls the page, as everywhere, except over the axis or with Ctrl (which is also a trackpad's pinch).
  box.addEventListener('wheel', (e) => {
    const sideways = Math.abs(e.deltaX) > Math.abs(e.deltaY) || e.shiftKey;
    if (!sideways && !e.ctrlKey && !e.target.closest('.axis')) return;
    e.preventDefault();
    if (sideways && !e.ctrlKey) axis.pan(((e.deltaX || e.deltaY) / axis.width) * axis.span);
    else axis.zoom(Math.exp(Math.max(-60, Math.min(60, e.deltaY)) * 0.006), timeAt(e));
    c.redraw();
  }, { passive: false });
  box.addEventListener('keydown', (e) => {
    if (e.target === box && key(c, e)) e.preventDefault();
  });
}

// key does what a key asks for, and reports whether it meant something.
function key(c, e) {
  const { axis } = c;
  if (e.ctrlKey || e.metaKey || e.altKey) return false;
  const here = c.t === null ? (axis.from + axis.to) / 2 : c.t;
  const shown = c.rows.filter((r) => r.element.offsetParent);
  const step = (by) => { c.t = Math.min(Math.max(here + by, 0), axis.length); };
  const actions = {
    ArrowLeft: () => step(-axis.span / (e.shiftKey ? 20 : 200)), ArrowRight: () => step(axis.span / (e.shiftKey ? 20 : 200)),
    ArrowUp: () => pick(-1), ArrowDown: () => pick(1),
    '+': () => axis.zoom(0.6, here), '=': () => axis.zoom(0.6, here), '-': () => axis.zoom(1 / 0.6, here), 0: () => axis.show(0, axis.length),
    PageUp: () => axis.pan(-axis.span * 0.8), PageDown: () => axis.pan(axis.span * 0.8), Home: () => { c.t = 0; }, End: () => { c.t = axis.length; },
    n: () => jump(1), p: () => jump(-1), Escape: () => { c.t = null; c.row = null; },
  };
  const pick = (by) => {
    const i = shown.indexOf(c.row);
    c.row = shown[Math.min(Math.max(i < 0 ? (by > 0 ? 0 : shown.length - 1) : i + by, 0), shown.length - 1)];
    c.t = here;
    if (c.row) c.row.element.scrollIntoView({ block: 'nearest' });
  };
  const jump = (by) => {
    const all = [...new Set(shown.flatMap((r) => r.moments || []))].sort((a, b) => a - b);
    const next = by > 0 ? all.find((t) => t > here + 1e-6) : all.reverse().find((t) => t < here - 1e-6);
    if (next !== undefined) c.t = next;
  };
  if (!actions[e.key]) return false;
  actions[e.key]();
  if (c.t !== null && (c.t < axis.from || c.t > axis.to)) {
    const half = axis.span / 2;
    if (!['PageUp', 'PageDown'].includes(e.key)) axis.show(c.t - half, c.t + half); else c.t = (axis.from + axis.to) / 2;
  }
  c.draw();
  announce(c);
  return true;
}

// announce reads the crosshair out: the chosen row, else every row that something is wrong in.
function announce(c) {
  if (c.t === null) { c.tell(); c.live.textContent = ''; return; }
  if (c.row) {
    const r = c.row.strip.getBoundingClientRect();
    c.tell(r.left + c.axis.x(c.t), r.top);
    c.live.textContent = `${clockText(c.t)}, ${c.row.name}: ${c.row.at(c.t).more.join('. ') || c.row.at(c.t).text}`;
    return;
  }
  c.tell();
  const bad = c.rows.map((r) => [r, r.at(c.t)]).filter(([, s]) => s.bad).map(([r, s]) => `${r.name}: ${s.text}`);
  c.live.textContent = `${clockText(c.t)}: ${bad.slice(0, 12).join(', ') || 'nothing is wrong'}`;
}

function toolbar(c, root, steps) {
  const { axis } = c;
  const button = (text, label, fn) => {
    const b = el('button', { type: 'button', 'aria-label': label, title: label }, text);
    b.addEventListener('click', () => { fn(); c.draw(); });
    return b;
  };
  const filter = el('input', { type: 'search', placeholder: 'filter rows, e.g. berlin', 'aria-label': 'filter rows by name', class: 'filter' });
  filter.addEventListener('input', () => filterRows(c, filter.value));
  const mid = () => (axis.from + axis.to) / 2;
  const tools = el('div', { class: 'bar-tools' }, filter,
    button('−', 'zoom out', () => axis.zoom(1 / 0.6, mid())), button('+', 'zoom in', () => axis.zoom(0.6, mid())),
    button('all', 'show the whole drill', () => axis.show(0, axis.length)));
  for (const s of steps.slice(0, 8)) {
    tools.append(button(s.text, `zoom to ${s.text} at ${clockText(s.t)}`, () => axis.show(s.t - 0.5, s.t + Math.min(4.5, axis.length / 3))));
  }
  const view = el('span', { class: 'quiet view' });
  root.addEventListener('view', () => { view.textContent = axis.whole ? '' : `${fixed(axis.from, 2)} s to ${fixed(axis.to, 2)} s`; });
  tools.append(el('span', { class: 'grow' }), view);
  const hint = el('p', { class: 'hint' });
  hint.append('Drag to zoom in, double-click for all, drag the axis to pan, ', el('kbd', {}, 'Ctrl'), ' + wheel to zoom. Keys, once the chart is focused: ');
  for (const k of ['←', '→', '↑', '↓', '+', '−', '0', 'n', 'p']) hint.append(el('kbd', {}, k), ' ');
  return el('div', {}, tools, hint);
}

function filterRows(c, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const lane of c.lanes) {
    let last = '';
    for (const r of lane.rows) {
      const name = r.name.toLowerCase();
      r.element.hidden = !words.every((w) => name.includes(w));
      if (r.element.hidden) continue;
      r.element.classList.toggle('again', r.label === last);
      last = r.label;
    }
    lane.element.hidden = words.length > 0 && lane.rows.every((r) => r.element.hidden);
  }
  c.draw();
}
