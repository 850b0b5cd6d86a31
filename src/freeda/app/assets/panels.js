// Why a region got its word; and the sheets: bank, drawing, export, help.
import { call } from './api.js';
import { portrait, regionAt } from './canvas.js';
import { $, icon, make } from './dom.js';
import { colour, current, download, explain, on, store } from './state.js';
import { latest, say, task } from './tell.js';

const sheet = $('sheet'), body = $('sheet-body'), SHOWN = 6;

function card(picture, title, ...lines) {
  const image = picture ? make('img', { src: picture, alt: lines[0] ?? title ?? '' }) : make('div', { className: 'blank' }, picture === null ? 'no picture kept' : 'drawing …');
  return make('figure', { className: 'card' }, image, make('figcaption', {}, title ? make('b', {}, title) : null, ...lines.map((line) => make('span', {}, line))));
}
const cards = (some) => make('div', { className: 'cards' }, ...some);

let nth = 0;
export async function why(x, y) {
  const mine = ++nth, at = regionAt(x, y), told = await task('Explaining', (signal) => explain(x, y, false, signal));
  if (!told || mine !== nth) return;
  const missing = told.references.some((group) => group.nearest.some((one) => one.picture === null));
  because(told, at, missing && store.info.can_draw);
  if (!missing || !store.info.can_draw) return;
  const drawn = await task('Drawing the references', (signal) => explain(x, y, true, signal));
  if (mine === nth) because(drawn ?? told, at, false);
}

function because(told, at, coming) { // with `coming` missing pictures are on their way
  const box = $('why'), fresh = box.hidden, number = (value) => (value === null || value === undefined ? '–' : value.toFixed(3));
  const lines = told.scores.slice(0, SHOWN).map((one) => {
    const bar = make('span', { className: 'bar' });
    Object.assign(bar.style, { width: `${100 * Math.min(Math.max(one.score, 0), 1)}%`, background: colour(one.name) });
    return make('tr', {}, make('th', { scope: 'row' }, one.name, bar), make('td', {}, make('b', {}, number(one.score))), make('td', {}, number(one.local)), make('td', {}, number(one.global)));
  });
  const more = told.scores.length - lines.length;
  box.replaceChildren(
    make('div', { className: 'row' }, make('h2', {}, `Why ${told.label}?`),
      make('button', { type: 'button', className: 'button icon small', 'aria-label': 'Close the explanation', onclick: () => { box.hidden = true; $('stage').focus(); } }, icon('close'))),
    make('div', { className: 'verdict' }, ...(at ? [portrait(at.region)] : []), make('p', {}, told.sentence)),
    make('table', {}, make('thead', {}, make('tr', {}, ...['word', 'score', 'local', 'global'].map((name) => make('th', { scope: 'col' }, name)))), make('tbody', {}, ...lines)),
    ...(more > 0 ? [make('small', {}, `and ${more} more`)] : []),
    ...told.notes.map((note) => make('p', { className: 'note' }, note)),
    ...told.references.flatMap((group) => [make('h3', {}, `Nearest references of ${group.name}`),
      cards(group.nearest.map((one) => card(one.picture ?? (coming ? undefined : null), `${one.noun} ${one.cosine.toFixed(3)}`, one.caption)))]));
  box.hidden = false;
  if (fresh) box.scrollIntoView({ block: 'nearest' });
  if (coming || fresh) say(`${told.label}: ${told.sentence}`);
}

function open(title, ...inside) {
  $('sheet-title').textContent = title;
  body.replaceChildren(...inside);
  if (!sheet.open) sheet.showModal();
}

const field = (name, input) => make('label', { className: 'field' }, make('span', {}, name), input);

export function bank() {
  const input = make('input', { type: 'search', maxLength: 200, placeholder: 'cottage', required: true }), found = make('div', { 'aria-live': 'polite' });
  const size = store.info.bank?.rows;
  const ask = async (event) => {
    event.preventDefault();
    const mine = ++nth, search = (pictures) => task('Searching the bank', (signal) => call('GET', `bank?${new URLSearchParams({ word: input.value, pictures })}`, undefined, signal), 'bank');
    const got = await search(false), missing = got?.nouns.some((noun) => noun.rows.some((row) => row.picture === null)) && store.info.can_draw;
    show(got, missing);
    if (missing && mine === nth) { const drawn = await search(true); if (mine === nth) show(drawn ?? got, false); }
  };
  const show = (got, coming) => {
    if (!got) { found.replaceChildren(make('p', { className: 'bad' }, latest())); return; }
    found.replaceChildren(...got.nouns.map((noun) => make('section', {}, make('h3', {}, noun.noun),
      make('small', {}, `similarity ${noun.similarity.toFixed(3)}; ${noun.within} of the ${noun.of} references that answer this word`),
      cards(noun.rows.map((row) => card(row.picture ?? (coming ? undefined : null), '', row.caption))))), ...(got.nouns.length ? [] : [make('p', {}, 'The bank has nothing like it.')]));
  };
  open('What the bank knows', make('form', { className: 'ask', onsubmit: ask }, field(size ? `Word or phrase, of ${size.toLocaleString('en')} references` : 'Word or phrase', input),
    make('button', { className: 'button solid' }, 'Search')), found);
  input.focus();
}

export function draw() {
  const caption = make('input', { type: 'text', maxLength: 300, value: 'a red house on the grass under a blue sky', required: true });
  const seed = make('input', { type: 'number', min: 0, max: 2 ** 31 - 1, step: 1, value: 0, required: true }), found = make('div', { 'aria-live': 'polite' });
  const ask = async (event) => {
    event.preventDefault();
    const got = await task('Drawing', (signal) => call('POST', 'draw', { caption: caption.value, seed: Number(seed.value) }, signal), 'draw');
    if (!got) { found.replaceChildren(make('p', { className: 'bad' }, latest())); return; }
    found.replaceChildren(make('div', { className: 'story' }, make('section', {}, make('h3', {}, 'Picture'), cards([card(got.picture, '', caption.value)])),
      make('div', {}, make('h3', {}, 'Where the generator looked for each noun'), cards(got.words.map((one) => card(one.map, one.noun))),
        make('h3', {}, 'Masks, which the bank learns from'), cards(got.words.map((one) => card(one.mask, one.noun, one.fate ?? (one.kept ? 'becomes a reference' : 'rejected')))))));
  };
  open('How a caption becomes references', make('form', { className: 'ask', onsubmit: ask }, field('Caption', caption), field('Seed', seed), make('button', { className: 'button solid' }, 'Draw')), found);
  caption.focus();
}

export function exporting() {
  const { pictures } = store.ws, many = pictures.length > 1, name = current()?.name;
  const kinds = Object.entries(store.info.exports).map(([kind, told], i) => make('label', {}, make('input', { type: 'radio', name: 'kind', value: kind, checked: i === 0 }), make('span', {}, told)));
  const only = make('input', { type: 'checkbox', name: 'only' });
  const scope = [['one', `This picture${name ? `: ${name}` : ''}`, true], ['all', `All ${pictures.length} pictures`, false]].map(([value, told, checked]) =>
    make('label', {}, make('input', { type: 'radio', name: 'scope', value, checked }), make('span', {}, told)));
  const form = make('form', { className: 'export', onsubmit: (event) => {
    event.preventDefault();
    const data = new FormData(form);
    sheet.close();
    download(data.get('kind'), data.get('scope') === 'all', only.checked);
  } },
  make('fieldset', {}, make('legend', {}, 'As'), ...kinds),
  ...(many ? [make('fieldset', {}, make('legend', {}, 'What'), ...scope, make('label', {}, only, make('span', {}, 'of all, only those accepted')))] : []),
  make('button', { className: 'button solid', disabled: !pictures.length }, icon('export'), 'Save'));
  open('Export', form);
  form.elements.kind[0]?.focus();
}

const HELP = [
  ['Correct', [['V', 'region: press one, choose or type a word; Shift adds regions'], ['B', 'box: all regions that lie in it'], ['P', 'brush; [ and ] change its radius'], ['S', 'split: draw a line across a region'], ['M', 'merge: press the regions'],
    ['1 – 9', 'the word of that number, while words are shown'], ['T', 'whether corrections teach'], ['Ctrl Z', 'undo'], ['Ctrl Shift Z', 'redo'], ['Esc', 'drop what was begun']]],
  ['Look', [['O', 'outlines or tints'], ['C', 'before and after'], ['+  −  0', 'zoom in, out, fit; the wheel and two fingers as well'], ['Drag', 'moves a picture that is zoomed'], ['W', 'why the region under the cursor got its word']]],
  ['Pictures', [['J  K', 'next, previous'], ['A', 'accept, and on to the next'], ['X', 'export'], ['/', 'to the words'], ['?', 'this sheet']]],
  ['On the picture', [['Tab', 'to get there'], ['Arrows', 'move a cursor; with Shift faster'], ['Enter', 'uses the tool there; box, brush and line end with a second Enter']]],
];
export function help() {
  open('Keys', make('div', { className: 'keys' }, ...HELP.map(([title, rows]) => make('section', {}, make('h3', {}, title),
    make('dl', {}, ...rows.flatMap(([key, told]) => [make('dt', {}, make('kbd', {}, key)), make('dd', {}, told)]))))),
  make('p', { className: 'note' }, `freeda ${store.info.version}, preset ${store.info.preset}. For programs: `, make('a', { href: 'docs' }, 'the API'), '.'));
}

$('sheet-close').addEventListener('click', () => sheet.close());
sheet.addEventListener('click', (event) => { if (event.target === sheet) sheet.close(); });
on('photo', () => { nth++; $('why').hidden = true; });
