// The record: what the page holds, and the way back to the JSON report.

const parsed = (id) => JSON.parse(document.getElementById(id).textContent);

// record reads one run's data; samples become columns of plain arrays, moments in seconds on the drill's clock.
function record(index) {
  const table = parsed('samples-' + index);
  const columns = {};
  for (const c of table.columns) columns[c.name] = c;
  const field = (name, i) => {
    const c = columns[name];
    if (!c) return undefined;
    if (c.at) return c.at[i] === null ? undefined : c.at[i] / 1e9;
    if (!c.index) return c.values[0];
    return c.index[i] < 0 ? undefined : c.values[c.index[i]];
  };
  return { table, field, rows: table.rows, strips: parsed('strips-' + index), report: parsed('record-' + index), index };
}

// sampleText is one sample as the JSON report holds it. Moments are added as BigInt: they may exceed 2^53.
function sampleText(rec, i) {
  const parts = [];
  for (const c of rec.table.columns) {
    let value;
    if (c.at) value = c.at[i] === null ? undefined : String(BigInt(rec.table.zero) + BigInt(c.at[i]));
    else if (!c.index) value = JSON.stringify(c.values[0]);
    else if (c.index[i] >= 0) value = JSON.stringify(c.values[c.index[i]]);
    if (value !== undefined) parts.push(JSON.stringify(c.name) + ':' + value);
  }
  return '{' + parts.join(',') + '}';
}

// reportText is the whole report with the samples that the page holds. The report's own text is not decoded and encoded
// again, so that no number changes.
function reportText(rec) {
  const text = document.getElementById('record-' + rec.index).textContent.trim();
  if (!rec.rows) return text + '\n';
  const all = [];
  for (let i = 0; i < rec.rows; i++) all.push(sampleText(rec, i));
  return text.slice(0, -1) + ',"samples":[\n' + all.join(',\n') + '\n]}\n';
}

function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  const a = document.createElement('a');
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// byPair groups sample numbers by client and load, in the order of their starts; those begun before the clock are left out.
function byPair(rec) {
  const groups = new Map();
  for (let i = 0; i < rec.rows; i++) {
    if (rec.field('start', i) < 0) continue;
    const key = rec.field('client', i) + '/' + rec.field('load', i);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(i);
  }
  for (const list of groups.values()) list.sort((a, b) => rec.field('start', a) - rec.field('start', b));
  return groups;
}
