// The page put together: what buttons and keys do.
import { fit, marks, regionAt, toStage, zoom } from './canvas.js';
import { $, icon, make } from './dom.js';
import { focusWords } from './legend.js';
import { bank, draw, exporting, help, why } from './panels.js';
import { emit, look, on, open, redo, sample, start, step, store, undo } from './state.js';
import { toggle } from './strip.js';
import { busy } from './tell.js';
import { escape, use } from './tools.js';

const TOOLS = [['region', 'Region', 'V'], ['box', 'Box', 'B'], ['brush', 'Brush', 'P'], ['split', 'Split', 'S'], ['merge', 'Merge', 'M']];
const THEMES = ['', 'light', 'dark'], radius = $('radius').querySelector('input');

for (const [tool, name, key] of TOOLS) {
  const input = make('input', { type: 'radio', name: 'tool', value: tool, 'aria-label': name, onchange: () => use(tool) });
  $('tools').append(make('label', { title: `${name} (${key})` }, input, icon(tool), make('span', {}, name)));
}
const brush = (value) => look({ radius: Math.min(120, Math.max(2, Math.round(value))) });
const flip = (name) => look({ [name]: !store.view[name] });
const theme = () => look({ theme: THEMES[(THEMES.indexOf(store.view.theme) + 1) % 3] });
radius.addEventListener('input', () => brush(Number(radius.value)));
$('teach').addEventListener('change', () => look({ teach: $('teach').checked }));

const cursorWhy = () => {
  const place = marks.cursor ?? (store.photo && [store.photo.width / 2, store.photo.height / 2]);
  if (place && regionAt(...place)) why(...place.map(Math.floor));
};
const BUTTONS = {
  outline: () => flip('outline'), compare: () => flip('compare'), in: () => zoom(1.4), out: () => zoom(1 / 1.4), fit,
  undo, redo, export: exporting, bank, draw, help, theme,
};
for (const [id, act] of Object.entries(BUTTONS)) $(id).addEventListener('click', () => act());

const KEYS = {
  ...Object.fromEntries(TOOLS.map(([tool, , key]) => [key.toLowerCase(), () => use(tool)])),
  o: BUTTONS.outline, c: BUTTONS.compare, t: () => flip('teach'), '+': BUTTONS.in, '=': BUTTONS.in, '-': BUTTONS.out, 0: fit,
  '[': () => brush(store.view.radius / 1.25 - 1), ']': () => brush(store.view.radius * 1.25 + 1),
  a: toggle, j: () => step(1), k: () => step(-1), w: cursorWhy, x: exporting, '/': focusWords, '?': help, escape,
};
addEventListener('keydown', (event) => {
  if (event.defaultPrevented || $('sheet').open) return;
  const typing = event.target.matches('textarea, select, input:not([type=radio], [type=checkbox], [type=range], [type=color])');
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && (key === 'z' || key === 'y') && !typing) {
    (key === 'y' || event.shiftKey ? redo : undo)();
    event.preventDefault();
  } else if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey && Object.hasOwn(KEYS, key)) {
    KEYS[key]();
    event.preventDefault();
  } else if (typing && key === 'escape') event.target.blur();
});

$('file').addEventListener('change', () => { if ($('file').files.length) open([...$('file').files]); $('file').value = ''; });
let over = 0; // dragged files: enter and leave come for every element on the way
const drag = (change) => (event) => {
  if (!event.dataTransfer?.types.includes('Files') || store.ws?.folder) return;
  event.preventDefault();
  over = change === 0 ? over : Math.max(0, over + change);
  $('falling').hidden = !over;
};
addEventListener('dragenter', drag(1));
addEventListener('dragleave', drag(-1));
addEventListener('dragover', drag(0));
addEventListener('drop', (event) => {
  drag(-9)(event);
  over = 0;
  const files = [...event.dataTransfer.files];
  if (files.length && !store.ws?.folder) open(files);
});
addEventListener('paste', (event) => { if (event.clipboardData.files.length && !store.ws?.folder) open([...event.clipboardData.files]); });

on('info', () => {
  const { info } = store;
  $('notice').textContent = info.notice;
  $('draw').hidden = !info.can_draw;
  $('bank').hidden = !info.bank;
  $('drop').classList.toggle('shared', Boolean(info.folder));
  const shared = make('p', {}, make('b', {}, info.folder?.name), make('span', {}, 'labels are kept in the folder'));
  if (info.folder) $('drop').replaceChildren(shared);
  else {
    $('samples').append(...info.samples.map(({ words, url }, i) => make('button', { type: 'button', title: words,
      'aria-label': `Example: ${words}`, onclick: () => sample(i) }, make('img', { src: url, alt: '' }))));
  }
});
on('state', () => {
  const { undo: back, redo: forth, warnings } = store.ws;
  $('undo').disabled = !back;
  $('redo').disabled = !forth;
  $('undo').title = back ? `Undo ${back} (Ctrl Z)` : 'Undo (Ctrl Z)';
  $('redo').title = forth ? `Redo ${forth} (Ctrl Shift Z)` : 'Redo (Ctrl Shift Z)';
  const told = warnings.some((one) => one.startsWith('This model knows')); // which the notice says as well
  $('notice').textContent = [told ? '' : store.info.notice, ...warnings].filter(Boolean).join('. ');
});
on('hover', () => emit('look'));
on('look', () => {
  const { view } = store;
  if (view.theme) document.documentElement.dataset.theme = view.theme; else delete document.documentElement.dataset.theme;
  $('theme').title = `Light or dark: ${view.theme || 'as the system'}`;
  for (const name of ['outline', 'compare']) $(name).setAttribute('aria-pressed', String(view[name]));
  $('teach').checked = view.teach;
  $('radius').hidden = view.tool !== 'brush';
  radius.value = view.radius;
  radius.nextElementSibling.textContent = view.radius;
  document.querySelector(`#tools [value=${view.tool}]`).checked = true;
});

globalThis.freeda = { store, regionAt, toStage, busy }; // for tests, and for who looks behind the page
emit('look');
start();
