// The requests of one client and load: a dot for each while there is room, else a density strip.

const RESULT_HEIGHT = 30;

function resultRow(axis, color, rec, data, list, scale) {
  const sum = [0, 1, 2].map((k) => data.bins.reduce((n, b) => n + b[k], 0));
  const row = rowElement(data.client, data.load, RESULT_HEIGHT,
    `requests of ${data.client}/${data.load}: ${sum[0]} good, ${sum[1]} lost, ${sum[2]} with a wrong body`);
  const all = sum[0] + sum[1] + sum[2];
  row.rest = { text: sum[2] ? `${sum[1] ? sum[1] + ' lost, ' : ''}${sum[2]} wrong of ${all}` : sum[1] ? `${sum[1]} lost of ${all}` : `${all} good`, bad: sum[1] + sum[2] > 0 };
  const fine = rec.strips.fine;
  row.draw = () => {
    row.strip.replaceChildren();
    const inView = rec.strips.all ? visible(rec, list, axis) : [];
    if (rec.strips.all && inView.length <= axis.width * 1.2) drawDots(row.strip, axis, color, rec, inView, scale);
    else drawDensity(row.strip, axis, fine, data.bins, scale);
  };
  row.at = (t) => (rec.strips.all ? readSample(axis, rec, list, t) : readBin(data.bins, fine, t));
  row.moments = [];
  return row;
}

function visible(rec, list, axis) {
  const margin = axis.span * 0.01;
  const first = before(list, (i) => rec.field('start', i), axis.from - margin) + 1;
  const last = before(list, (i) => rec.field('start', i), axis.to + margin);
  return list.slice(first, last + 1);
}

// latencyScale maps milliseconds to a height, by logarithm, over all rows of a run.
function latencyScale(results) {
  let lo = Infinity, hi = 1;
  for (const r of results) {
    for (const b of r.bins) {
      if (b[0]) { lo = Math.min(lo, b[3]); hi = Math.max(hi, b[4]); }
    }
  }
  lo = Math.max(Math.min(lo, hi / 2), 0.5);
  const y = (ms) => {
    const share = Math.log(Math.max(ms, lo) / lo) / Math.log(hi / lo);
    return RESULT_HEIGHT - 4 - Math.min(share, 1) * (RESULT_HEIGHT - 9);
  };
  return { y, text: `${msText(lo)} at the bottom, ${msText(hi)} at the top` };
}

function drawDots(strip, axis, color, rec, list, scale) {
  const good = new Map();
  let lost = '', wrong = '';
  const size = Math.min(Math.max(axis.width / list.length, 2), 4);
  for (const i of list) {
    const x = axis.x(rec.field('start', i));
    if (rec.field('wrong_body', i)) { wrong += cross(x, RESULT_HEIGHT / 2); continue; }
    if (!rec.field('ok', i)) { lost += `M${(x - 1).toFixed(1)} 2h2v${RESULT_HEIGHT - 4}h-2z`; continue; }
    const y = scale.y((rec.field('end', i) - rec.field('start', i)) * 1000);
    const c = color(rec.field('pop', i));
    good.set(c, (good.get(c) || '') + `M${(x - size / 2).toFixed(1)} ${(y - size / 2).toFixed(1)}h${size}v${size}h${-size}z`);
  }
  for (const [c, d] of good) strip.append(svg('path', { class: 'pop' + c, d }));
  if (lost) strip.append(svg('path', { class: 'loss', d: lost }));
  if (wrong) strip.append(svg('path', { class: 'wrongs', d: wrong }));
}

const cross = (x, y) => `M${(x - 5).toFixed(1)} ${y - 3}l2-2 3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3z`;

// drawDensity draws bins: the band from the median to the longest latency, and lost requests from the top by their share.
function drawDensity(strip, axis, width, bins, scale) {
  let spread = '', typical = '', lost = '', wrong = '';
  for (let b = 0; b < bins.length; b++) {
    const [good, bad, odd, median, longest] = bins[b];
    if ((b + 1) * width < axis.from || b * width > axis.to || !(good + bad + odd)) continue;
    const x = axis.x(b * width), w = Math.max(axis.x((b + 1) * width) - x - (axis.width / bins.length > 3 ? 0.5 : 0), 0.8);
    if (good) {
      const top = scale.y(longest), mid = scale.y(median);
      spread += `M${x.toFixed(1)} ${top.toFixed(1)}h${w.toFixed(1)}V${(mid + 1.2).toFixed(1)}h${(-w).toFixed(1)}z`;
      typical += `M${x.toFixed(1)} ${(mid - 1.2).toFixed(1)}h${w.toFixed(1)}v2.4h${(-w).toFixed(1)}z`;
    }
    if (bad) {
      const h = Math.max((bad / (good + bad + odd)) * (RESULT_HEIGHT - 4), 4);
      lost += `M${x.toFixed(1)} 2h${Math.max(w, 1.5).toFixed(1)}v${h.toFixed(1)}h${(-Math.max(w, 1.5)).toFixed(1)}z`;
    }
    if (odd) wrong += cross(x + w / 2, RESULT_HEIGHT / 2);
  }
  for (const [cls, d] of [['spread', spread], ['typical', typical], ['loss', lost], ['wrongs', wrong]]) {
    if (d) strip.append(svg('path', { class: cls, d }));
  }
}

function readBin(bins, width, t) {
  const b = Math.min(Math.floor(t / width), bins.length - 1);
  const [good, bad, odd, median, longest] = bins[b];
  const parts = [`${good} good`];
  if (bad) parts.unshift(`${bad} lost`);
  if (odd) parts.unshift(`${odd} wrong`);
  const latency = good ? [`median ${msText(median)}, longest ${msText(longest)}`] : [];
  return { text: parts.join(' · '), bad: bad + odd > 0, more: [`${clockText(b * width)} to ${clockText((b + 1) * width)}: ${parts.join(', ')}`, ...latency] };
}

// readSample tells of the request that began nearest to a moment.
function readSample(axis, rec, list, t) {
  let k = before(list, (i) => rec.field('start', i), t);
  if (k < 0 || (k + 1 < list.length && rec.field('start', list[k + 1]) - t < t - rec.field('start', list[k]))) k++;
  const i = list[k];
  if (i === undefined || Math.abs(rec.field('start', i) - t) > Math.max(axis.span * 0.03, 0.2)) return { text: 'no request', more: [] };
  return sampleReading(rec, i);
}

function sampleReading(rec, i) {
  const f = (name) => rec.field(name, i);
  const ms = (f('end') - f('start')) * 1000;
  const lost = !f('ok');
  const what = f('wrong_body') ? 'wrong body' : lost ? 'LOST' : msText(ms);
  const more = [`begun ${clockText(f('start'))}, ended ${clockText(f('end'))} (${msText(ms)}): ${f('wrong_body') ? 'wrong body' : lost ? 'lost' : 'good'}`];
  if (f('error')) more.push(f('error'));
  if (f('pop')) more.push(`from ${f('node') || f('pop')} over ${f('addr')}${f('cache_status') ? ' · ' + f('cache_status') : ''}`);
  else if (f('addr')) more.push(`last tried ${f('addr')}, ${f('tries')} tries`);
  if (f('dns_addrs')) {
    more.push(`DNS: ${f('dns_pop') || 'anycast'} (${f('dns_addrs').join(' ')}) from ${f('dns_node') || f('dns_server')}${f('dns_time') !== undefined ? ' at ' + clockText(f('dns_time')) : ''}`);
  }
  if (f('dns_empty')) more.push('a name server answered without an address');
  if (f('dns_error')) more.push('DNS: ' + f('dns_error'));
  const short = (f('error') || '').split(': ').slice(-1)[0];
  return { text: [what, lost || f('wrong_body') ? short : f('pop')].filter(Boolean).join(' · '), bad: lost || !!f('wrong_body'), more };
}
