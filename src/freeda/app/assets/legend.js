// The legend: colours, shares, eyes; the words and their settings.
import { $, iconButton, ink, make, percent, plural } from './dom.js';
import { colour, emit, look, on, settings, store, type, words } from './state.js';

const MANY = 20; // from here on rows are grouped
const box = $('words'), KNOBS = [
  ['local_weight', 'Local weight', 0, 1, 0.01, 'looks of the region (1) against the whole window (0)'],
  ['k', 'References a word', 1, 500, 1, 'how many of the bank are averaged'],
  ['scale', 'Scale of regions', 10, 1000, 10, 'larger regions to the right; cuts the photograph anew'],
];
let timer = 0, folded = false;
const sliders = {};

function later(wait, changed = {}, colours = {}) { // what was changed meanwhile goes along
  clearTimeout(timer);
  Object.assign(store.pending, changed);
  Object.assign(store.colours, colours);
  timer = setTimeout(() => { timer = 0; type(box.value); }, wait);
}

box.addEventListener('input', () => { grow(); later(150); });
box.addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); later(0); } });
const grow = () => { box.style.height = 'auto'; box.style.height = `${Math.min(160, box.scrollHeight + 2)}px`; };
$('others').addEventListener('change', () => later(0, { others: $('others').checked }));

function recolour(name, chosen) {
  later(300, {}, { [name]: chosen });
  emit('look');
}

function row(one) {
  const own = colour(one.name), closed = store.hidden.has(one.name);
  const chip = make('label', { className: 'chip', title: `Colour of ${one.name}` }, String(one.number));
  Object.assign(chip.style, { background: own, color: ink(own) });
  const pick = make('input', { type: 'color', value: own, 'aria-label': `Colour of ${one.name}` });
  pick.addEventListener('input', () => {
    Object.assign(chip.style, { background: pick.value, color: ink(pick.value) });
    recolour(one.name, pick.value);
  });
  chip.append(pick);
  const bar = make('span', { className: 'bar', hidden: !one.share });
  Object.assign(bar.style, { width: `${100 * (one.share ?? 0)}%`, background: own });
  const alone = () => { store.pinned = store.pinned === one.name ? null : one.name; emit('look'); };
  const pressed = String(store.pinned === one.name), title = `${one.name}: show it alone`;
  const name = make('button', { type: 'button', className: 'name', title, 'aria-pressed': pressed, onclick: alone },
    make('span', {}, one.name), one.caveat ? make('small', {}, one.caveat) : null, bar);
  const toggle = () => { if (!store.hidden.delete(one.name)) store.hidden.add(one.name); emit('look'); };
  const eye = iconButton(closed ? 'closed' : 'eye', `Show ${one.name}`, toggle,
    { className: 'eye button icon small', 'aria-pressed': String(!closed) });
  const line = make('li', {}, chip, name, make('span', { className: 'share' }, one.share === undefined ? '' : percent(one.share)), eye);
  line.classList.toggle('absent', !one.share);
  line.dataset.name = one.name;
  const point = (to) => () => { if (store.hover !== to) { store.hover = to; emit('hover'); } };
  for (const event of ['pointerenter', 'focusin']) line.addEventListener(event, point(one.share ? one.name : null));
  for (const event of ['pointerleave', 'focusout']) line.addEventListener(event, point(null));
  return line;
}

let drawn = '';
function draw() {
  const shares = new Map(store.labels?.of === store.picture ? store.labels.classes.map((one) => [one.name, one]) : []);
  const rows = (store.ws?.classes ?? []).map((one) => ({ ...one, ...shares.get(one.name), number: one.number }))
    .sort((a, b) => (b.share ?? 0) - (a.share ?? 0) || a.number - b.number);
  const key = JSON.stringify([rows, rows.map((one) => colour(one.name)), [...store.hidden], store.pinned]);
  if (key === drawn) return; // rows that stand keep the keyboard's place
  drawn = key;
  const active = document.activeElement, at = active?.closest?.('#legend li')?.dataset.name, part = active?.classList[0];
  const list = (some) => make('ul', { className: 'legend' }, ...some.map(row));
  if (!rows.length) $('legend').replaceChildren(make('p', {}, 'Type a word to label the picture.'));
  else if (rows.length <= MANY) $('legend').replaceChildren(list(rows));
  else {
    const [much, little, none] = [(s) => s >= 0.01, (s) => s > 0 && s < 0.01, (s) => !s]
      .map((fits) => rows.filter((one) => fits(one.share)));
    const group = (title, some) => (some.length ? [make('h3', {}, title), list(some)] : []);
    const fold = make('details', { open: folded, hidden: !none.length, ontoggle: () => { folded = fold.open; } },
      make('summary', {}, `${plural(none.length, 'word')} not in this picture`), list(none));
    $('legend').replaceChildren(...group('At least 1 %', much), ...group('Below 1 %', little), fold);
  }
  if (at) [...$('legend').querySelectorAll('li')].find((line) => line.dataset.name === at)?.querySelector(`.${part}`)?.focus();
}

function knobs() {
  for (const [key, name, least, most, by, told] of KNOBS) {
    const slide = make('input', { type: 'range', min: least, max: most, step: by, id: `knob-${key}` });
    const out = make('output', { for: slide.id }), reset = () => later(0, { [key]: null });
    const back = make('button', { type: 'button', className: 'button small', 'aria-label': `${name}: back to the preset's`, onclick: reset }, 'Reset');
    slide.addEventListener('input', () => { out.textContent = slide.value; later(250, { [key]: Number(slide.value) }); });
    sliders[key] = { slide, out, back };
    const label = make('label', { htmlFor: slide.id }, name);
    $('knobs').append(make('div', { className: 'knob' }, label, out, back, slide, make('small', {}, told)));
  }
}

function state() {
  if (!store.ws) return;
  if (!timer && store.typed === null && box.value !== words()) { box.value = words(); grow(); } // not while somebody types
  const now = settings();
  $('others').checked = now.others;
  for (const [key, { slide, out, back }] of Object.entries(sliders)) {
    const own = now[key] ?? null;
    if (document.activeElement !== slide) slide.value = own ?? store.info.defaults[key] ?? 0;
    out.textContent = slide.value;
    back.disabled = own === null;
  }
  const { lessons } = store.ws;
  $('lessons').hidden = !lessons.length;
  const count = {};
  for (const one of lessons) count[one.word] = (count[one.word] ?? 0) + 1;
  const told = Object.entries(count).map(([word, n]) => (n > 1 ? `${word} × ${n}` : word)).join(', ');
  $('lessons').replaceChildren(make('h2', {}, 'Taught'), make('p', {}, told));
  draw();
}

knobs();
$('opacity').addEventListener('input', () => look({ opacity: Number($('opacity').value) }));
on('state', state);
for (const event of ['labels', 'look', 'photo']) on(event, draw);
on('look', () => { $('opacity').value = store.view.opacity; $('opacity').disabled = store.view.outline; });
export const focusWords = () => { box.focus(); box.select(); };
