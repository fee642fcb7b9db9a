// Start: one chart for each run, made when it is first shown; theme, evidence and print.

const charts = new Map();

function show(index) {
  for (const run of document.querySelectorAll('.run')) run.hidden = run.dataset.run !== String(index);
  for (const b of document.querySelectorAll('.pick')) b.setAttribute('aria-pressed', String(b.dataset.pick === String(index)));
  if (!charts.has(index)) {
    const rec = record(index);
    charts.set(index, chart(document.getElementById('lanes-' + index), rec));
    lists(document.getElementById('lists-' + index), rec);
  }
  charts.get(index).draw();
}

// remembered is the theme chosen before; a browser may refuse to keep anything for a file.
function remembered(value) {
  try {
    if (value) localStorage.setItem('catchment-theme', value);
    return localStorage.getItem('catchment-theme');
  } catch {
    return null;
  }
}

function themes() {
  const root = document.documentElement;
  const is = () => root.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  const before = remembered();
  if (before === 'dark' || before === 'light') root.dataset.theme = before;
  document.getElementById('theme').addEventListener('click', () => {
    root.dataset.theme = is() === 'dark' ? 'light' : 'dark';
    remembered(root.dataset.theme);
  });
}

// evidence: a tap on a number keeps its evidence open, a second one or Escape closes it.
function evidence() {
  const close = (but) => {
    for (const b of document.querySelectorAll('.num[aria-expanded=true]')) if (b !== but) b.setAttribute('aria-expanded', 'false');
  };
  for (const b of document.querySelectorAll('.num')) {
    const tip = b.parentElement.querySelector('.tip');
    const place = () => { tip.classList.toggle('flip', b.getBoundingClientRect().left > innerWidth * 0.62); };
    b.addEventListener('pointerenter', place);
    b.addEventListener('focus', place);
    b.addEventListener('click', () => {
      close(b);
      b.setAttribute('aria-expanded', String(b.getAttribute('aria-expanded') !== 'true'));
    });
  }
  document.addEventListener('keydown', (e) => { if (e.key === 'Escape') close(); });
  document.addEventListener('click', (e) => { if (!e.target.closest('.num')) close(); });
}

// printing opens all evidence and draws the lanes as wide as the paper.
function printing() {
  const PAPER = 890; // A4 landscape less its margins and the rows' labels, in CSS pixels
  let opened = [];
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('.run:not([hidden]) details:not([open])')].filter((d) => !d.closest('.raw'));
    for (const d of opened) d.open = true;
    for (const c of charts.values()) {
      if (!c.box.offsetParent) continue;
      c.t = null;
      c.tell();
      c.printing = true;
      c.draw(PAPER);
    }
  });
  addEventListener('afterprint', () => {
    for (const d of opened) d.open = false;
    for (const c of charts.values()) {
      c.printing = false;
      if (c.box.offsetParent) c.draw();
    }
  });
}

themes();
evidence();
printing();
for (const b of document.querySelectorAll('.pick')) b.addEventListener('click', () => show(Number(b.dataset.pick)));
show(0);
