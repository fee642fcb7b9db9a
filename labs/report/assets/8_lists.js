// The raw lists: events and requests with a filter, and the report as a file.

const MOST_LINES = 500;

function lists(root, rec) {
  const events = (rec.report.events || []).map((e) => ({
    t: (Number(BigInt(Math.round(e.mono)) - BigInt(rec.table.zero))) / 1e9, e,
  })).sort((a, b) => a.t - b.t);
  root.append(
    list(`Events (${events.length})`, 'events', ['time', 'node', 'kind', 'subject', 'state', 'cause', 'detail'], events.length, (i) => {
      const { t, e } = events[i];
      const detail = Object.entries(e.detail || {}).map(([k, v]) => `${k}=${v}`).join(' ');
      return { cells: [clockText(t), e.node, e.kind, e.subject, e.state || '', e.cause || '', detail], bad: false };
    }),
    list(`Requests (${rec.rows})`, 'requests', ['time', 'result', 'client', 'load', 'POP', 'node', 'address', 'latency', 'DNS', 'error'], rec.rows, (i) => {
      const f = (name) => rec.field(name, i);
      const bad = !f('ok') || !!f('wrong_body');
      const dns = f('dns_empty') ? 'empty' : f('dns_pop') || (f('dns_addrs') ? 'anycast' : '');
      return {
        cells: [clockText(f('start')), f('wrong_body') ? 'wrong body' : bad ? 'lost' : 'good', f('client'), f('load'), f('pop') || '', f('node') || '',
          f('addr') || '', msText((f('end') - f('start')) * 1000), dns, f('error') || f('dns_error') || ''], bad,
      };
    }),
  );
  const get = el('button', { type: 'button', class: 'save' }, 'Save report.json');
  get.addEventListener('click', () => save(`${rec.report.drill}.json`, reportText(rec)));
  root.append(el('p', { class: 'tools' }, get, el('span', { class: 'quiet' }, 'the report as it was embedded, with the requests and events that this page holds')));
}

// list is a table that is filled when it is opened.
function list(title, id, heads, n, line) {
  const filter = el('input', { type: 'search', placeholder: 'filter, e.g. lost berlin', 'aria-label': 'filter ' + id });
  const only = el('input', { type: 'checkbox' });
  const told = el('span', { class: 'quiet' });
  const body = el('tbody');
  const table = el('table', {}, el('thead', {}, el('tr', {}, ...heads.map((h) => el('th', { scope: 'col' }, h)))), body);
  const tools = el('div', { class: 'tools' }, filter);
  if (id === 'requests') tools.append(el('label', {}, only, ' only lost or wrong'));
  tools.append(told);
  const box = el('details', { class: id }, el('summary', {}, title), tools, el('div', { class: 'wide' }, table));
  const fill = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const lines = [];
    let found = 0;
    for (let i = 0; i < n; i++) {
      const { cells, bad } = line(i);
      if (only.checked && !bad) continue;
      const text = cells.join(' ').toLowerCase();
      if (!words.every((w) => text.includes(w))) continue;
      if (++found <= MOST_LINES) lines.push(el('tr', bad ? { class: 'bad' } : {}, ...cells.map((c) => el('td', {}, String(c)))));
    }
    body.replaceChildren(...lines);
    told.textContent = found > MOST_LINES ? `the first ${MOST_LINES} of ${found}; filter for the others` : `${found}`;
  };
  only.checked = id === 'requests' && n > MOST_LINES;
  box.addEventListener('toggle', () => { if (box.open && !body.firstChild) fill(); });
  filter.addEventListener('input', fill);
  only.addEventListener('change', fill);
  return box;
}
