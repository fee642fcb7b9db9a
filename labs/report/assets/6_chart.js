// The chart: lanes of rows under one axis, with a crosshair that reads all of them.

function chart(root, rec) {
  const strips = rec.strips;
  const axis = new Axis(strips.length);
  const color = palette(strips.pops);
  const steps = [];
  for (const f of rec.report.faults || []) steps.push({ t: f.at_s, text: `${f.verb} ${f.target}` });
  const top = axisRow(axis, steps);
  const lanes = makeLanes(axis, color, rec);
  const rows = lanes.flatMap((l) => l.rows);
  const back = svg('svg', { class: 'back' });
  const cursor = svg('g', { class: 'cursor' });
  const drag = svg('rect', { class: 'drag', y: 0, height: '100%', width: 0 });
  const overlay = el('div', { class: 'overlay', 'aria-hidden': 'true' }, back);
  const live = el('p', { class: 'sr', 'aria-live': 'polite' });
  const box = el('div', {
    class: 'chart', tabindex: 0, role: 'group', 'aria-roledescription': 'chart over time',
    'aria-label': 'Lanes over time. Left and right move the crosshair, up and down choose a row, plus and minus zoom, 0 shows all, n and p go to the next and previous change, Escape hides the crosshair.',
  }, overlay, top.element, ...lanes.map((l) => l.element));
  const float = el('div', { class: 'float', hidden: true, role: 'presentation' });

  const c = { axis, rows, lanes, box, top, float, live, t: null, row: null, rec };
  // draw draws the span in view as wide as the chart is, or, on paper, as wide as it is told.
  c.draw = (paper) => {
    const width = paper || top.strip.getBoundingClientRect().width;
    if (width > 0) axis.width = width;
    for (const strip of [top.strip, ...rows.map((r) => r.strip)]) {
      if (paper) strip.setAttribute('viewBox', `0 0 ${width} ${strip.style.height.replace('px', '') || 40}`);
      else strip.removeAttribute('viewBox');
      strip.setAttribute('preserveAspectRatio', 'none');
    }
    top.draw();
    for (const r of rows) r.draw();
    back.replaceChildren();
    const share = (t) => ((t - axis.from) / axis.span) * 100 + '%';
    const line = (t, cls) => back.append(svg('line', { class: cls, x1: share(t), x2: share(t), y1: 0, y2: '100%' }));
    for (const { t } of axis.ticks()) line(t, 'grid');
    for (const { t } of steps) if (t >= axis.from && t <= axis.to) line(t, 'mark');
    back.append(drag, cursor);
    c.point();
    box.dataset.from = axis.from.toFixed(3);
    box.dataset.to = axis.to.toFixed(3);
    root.dispatchEvent(new Event('view'));
  };
  let asked = false;
  c.redraw = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; if (!c.printing) c.draw(); });
  };
  // point shows the crosshair at c.t and reads every row there; without a crosshair a row sums itself up.
  c.point = () => {
    cursor.replaceChildren();
    top.read.textContent = c.t === null ? '' : clockText(c.t);
    for (const r of rows) {
      const said = c.t === null ? r.rest || { text: '' } : r.at(c.t);
      r.read.textContent = said.text;
      r.read.title = said.text;
      r.read.classList.toggle('bad', !!said.bad);
      r.element.classList.toggle('on', c.t !== null && r === c.row);
    }
    if (c.t !== null) cursor.append(svg('line', { x1: axis.x(c.t), x2: axis.x(c.t), y1: 0, y2: '100%' }));
  };
  // tell shows the details of the chosen row beside a point of the window.
  c.tell = (x, y) => {
    float.hidden = c.t === null || !c.row || x === undefined;
    if (float.hidden) return;
    float.replaceChildren(el('b', {}, `${c.row.name} at ${clockText(c.t)}`), ...c.row.at(c.t).more.map((m) => el('div', {}, m)));
    const r = float.getBoundingClientRect();
    float.style.left = Math.max(4, x + 16 + r.width > innerWidth ? x - r.width - 16 : x + 16) + 'px';
    float.style.top = Math.max(4, y + 18 + r.height > innerHeight ? y - r.height - 12 : y + 18) + 'px';
  };
  c.drag = (x0, x1) => {
    drag.setAttribute('x', Math.min(x0, x1));
    drag.setAttribute('width', Math.abs(x1 - x0));
  };
  root.append(toolbar(c, root, steps), legend(strips, color), box, live, float);
  gestures(c);
  new ResizeObserver(c.redraw).observe(top.strip);
  c.draw();
  return c;
}

// makeLanes makes all lanes with their rows.
function makeLanes(axis, color, rec) {
  const s = rec.strips;
  const groups = byPair(rec);
  const scale = latencyScale(s.results);
  const states = (list, about) => (list || []).map((r) => stateRow(axis, color, r, about));
  const many = s.all ? 'a dot is a request by its latency, coloured by who answered' : `bins of ${s.fine} s: the median and up to the longest latency`;
  const list = [
    lane('faults', 'Faults', 'from the step to what undoes it', states(s.faults, 'faults')),
    lane('routes', 'BGP best paths', 'per router and prefix: the POP at the path’s end', states(s.routes, 'best path')),
    lane('dns', 'DNS answers', 'in force, per client and load; a foot marks each answer received', states(s.dns, 'DNS answer')),
    lane('views', 'Health views', 'each POP as each node sees it, through probes and gossip', states(s.views, 'view'), s.calm),
    lane('results', 'Client results', `${many}; full height: lost; ✕: wrong body; logarithmic, ${scale.text}`,
      (s.results).map((r) => resultRow(axis, color, rec, r, groups.get(r.client + '/' + r.load) || [], scale))),
    lane('shares', 'Answers per POP', `per second, bins of ${s.coarse} s; lost requests on top`, s.shares.length ? [sharesRow(axis, color, s)] : []),
    lane('hits', 'Hit ratio', `of each POP’s good answers, bins of ${s.coarse} s`, s.shares.filter((p) => p.good.some((n) => n)).map((p) => hitRow(axis, color, s, p))),
  ];
  return list;
}

function lane(id, title, hint, rows, note) {
  let last = '';
  for (const r of rows) {
    r.element.classList.toggle('again', r.label === last && rows.length > 1);
    last = r.label;
  }
  const element = el('details', { class: 'lane', open: true, 'data-lane': id }, el('summary', {}, title, el('small', {}, hint)), ...rows.map((r) => r.element));
  if (note) element.append(el('p', { class: 'note' }, note));
  if (!rows.length) element.append(el('p', { class: 'note' }, 'nothing was recorded'));
  return { id, element, rows };
}

function legend(strips, color) {
  const item = (cls, text) => {
    const sample = svg('svg', { viewBox: '0 0 18 10', 'aria-hidden': 'true' });
    sample.append(svg('rect', { class: cls, width: 18, height: 10, rx: 2 }));
    return el('span', {}, sample, text);
  };
  const box = el('div', { class: 'legend' });
  for (const p of strips.pops) box.append(item('pop' + color(p), p));
  box.append(item('seg anycast', 'anycast address'), item('loss', 'lost · no route · empty answer'), item('seg down', 'seen down'), item('seg up', 'seen up'), item('seg unknown', 'not known'));
  return box;
}
