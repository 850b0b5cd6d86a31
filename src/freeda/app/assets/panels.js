// Why a region got its word; and the sheets: bank, drawing, export, help.
import { call } from './api.js';
import { portrait, regionAt } from './canvas.js';
import { $, iconButton, icon, make } from './dom.js';
import { colour, current, download, explain, on, store } from './state.js';
import { latest, say, task } from './tell.js';

const sheet = $('sheet'), SHOWN = 6; // words whose scores are shown
const cell = (...inside) => make('td', {}, ...inside);
const title = (text) => make('h3', {}, text);
const choice = (input, text) => make('label', {}, input, make('span', {}, text));
const radio = (name, value, checked) => make('input', { type: 'radio', name, value, checked });
const cards = (some) => make('div', { className: 'cards' }, ...some);
const lacks = (pictures) => store.info.can_draw && pictures.some((one) => one === null);
let nth = 0; // counts what was asked for: a later one ends an earlier one

function card(picture, name, ...lines) { // a picture of null is not kept; undefined is on its way
  const image = picture ? make('img', { src: picture, alt: lines[0] ?? name })
    : make('div', { className: 'blank' }, picture === null ? 'no picture kept' : 'drawing …');
  const said = [name && make('b', {}, name), ...lines.map((line) => make('span', {}, line))];
  return make('figure', { className: 'card' }, image, make('figcaption', {}, ...said.filter(Boolean)));
}

export async function why(x, y) {
  const mine = ++nth, at = regionAt(x, y), told = await task('Explaining', (signal) => explain(x, y, false, signal));
  if (!told || mine !== nth) return;
  const coming = lacks(told.references.flatMap((group) => group.nearest.map((one) => one.picture)));
  because(told, at, coming);
  say(`${told.label}: ${told.sentence}`);
  $('why').scrollIntoView({ block: 'nearest' });
  if (!coming) return;
  const drawn = await task('Drawing the references', (signal) => explain(x, y, true, signal));
  if (mine === nth) because(drawn ?? told, at, false);
}

function because(told, at, coming) {
  const number = (value) => (value === null || value === undefined ? '–' : value.toFixed(3));
  const rows = told.scores.slice(0, SHOWN).map((one) => {
    const bar = make('span', { className: 'bar' });
    Object.assign(bar.style, { width: `${100 * Math.min(Math.max(one.score, 0), 1)}%`, background: colour(one.name) });
    const numbers = [cell(make('b', {}, number(one.score))), cell(number(one.local)), cell(number(one.global))];
    return make('tr', {}, make('th', { scope: 'row' }, one.name, bar), ...numbers);
  });
  const heads = ['word', 'score', 'local', 'global'].map((name) => make('th', { scope: 'col' }, name));
  const more = told.scores.length - rows.length;
  const close = () => { nth++; $('why').hidden = true; $('stage').focus(); };
  $('why').replaceChildren(
    make('div', { className: 'row' }, make('h2', {}, `Why ${told.label}?`), iconButton('close', 'Close the explanation', close)),
    make('div', { className: 'verdict' }, at && portrait(at.region), make('p', {}, told.sentence)),
    make('table', {}, make('thead', {}, make('tr', {}, ...heads)), make('tbody', {}, ...rows)),
    make('small', { hidden: more <= 0 }, `and ${more} more`),
    ...told.notes.map((note) => make('p', { className: 'note' }, note)),
    ...told.references.flatMap((group) => [title(`Nearest references of ${group.name}`), cards(group.nearest.map((one) =>
      card(one.picture ?? (coming ? undefined : null), `${one.noun} ${one.cosine.toFixed(3)}`, one.caption)))]));
  $('why').hidden = false;
}

function open(name, ...inside) {
  $('sheet-title').textContent = name;
  $('sheet-body').replaceChildren(...inside);
  $('sheet-title').after($('task')); // nothing behind a sheet can be pressed
  if (!sheet.open) sheet.showModal();
}

function asking(name, verb, fields, ask) { // a sheet with a form, and what is found below it
  const found = make('div', { 'aria-live': 'polite' });
  const show = (...inside) => found.replaceChildren(...inside);
  const labels = Object.entries(fields).map(([text, input]) => make('label', { className: 'field' }, make('span', {}, text), input));
  const send = async (event) => {
    event.preventDefault();
    if (!await ask(show, ++nth)) show(make('p', { className: 'bad' }, latest()));
  };
  open(name, make('form', { className: 'ask', onsubmit: send }, ...labels, make('button', { className: 'button solid' }, verb)), found);
  Object.values(fields)[0].focus();
}

export function bank() {
  const word = make('input', { type: 'search', maxLength: 200, placeholder: 'cottage', required: true });
  const size = store.info.bank?.rows.toLocaleString('en');
  const search = (pictures) => task('Searching the bank', (signal) =>
    call('GET', `bank?${new URLSearchParams({ word: word.value, pictures })}`, undefined, signal), 'bank');
  const nouns = (got, coming) => (got.nouns.length ? got.nouns.map((one) => make('section', {}, title(one.noun),
    make('small', {}, `similarity ${one.similarity.toFixed(3)}; ${one.within} of the ${one.of} references that answer this word`),
    cards(one.rows.map((row) => card(row.picture ?? (coming ? undefined : null), '', row.caption)))))
    : [make('p', {}, 'The bank has nothing like it.')]);
  asking('What the bank knows', 'Search', { [`Word or phrase, of ${size} references`]: word }, async (show, mine) => {
    const got = await search(false), coming = got && lacks(got.nouns.flatMap((one) => one.rows.map((row) => row.picture)));
    if (got) show(...nouns(got, coming));
    const drawn = coming && mine === nth && await search(true);
    if (coming && mine === nth) show(...nouns(drawn || got, false));
    return got;
  });
}

export function draw() {
  const caption = make('input', { type: 'text', maxLength: 300, value: 'a red house on the grass under a blue sky', required: true });
  const seed = make('input', { type: 'number', min: 0, max: 2 ** 31 - 1, step: 1, value: 0, required: true });
  asking('How a caption becomes references', 'Draw', { Caption: caption, Seed: seed }, async (show) => {
    const asked = { caption: caption.value, seed: Number(seed.value) };
    const got = await task('Drawing', (signal) => call('POST', 'draw', asked, signal), 'draw');
    if (got) {
      show(make('div', { className: 'story' },
        make('section', {}, title('Picture'), cards([card(got.picture, '', asked.caption)])),
        make('div', {}, title('Where the generator looked for each noun'), cards(got.words.map((one) => card(one.map, one.noun))),
          title('Masks, which the bank learns from'), cards(got.words.map((one) => card(one.mask, one.noun, one.fate))))));
    }
    return got;
  });
}

export function exporting() {
  const { pictures } = store.ws, name = current()?.name;
  const kinds = Object.entries(store.info.exports).map(([kind, told], i) => choice(radio('kind', kind, i === 0), told));
  const only = make('input', { type: 'checkbox' });
  const send = (event) => {
    event.preventDefault();
    const data = new FormData(form);
    sheet.close();
    download(data.get('kind'), data.get('scope') === 'all', only.checked);
  };
  const form = make('form', { className: 'export', onsubmit: send },
    make('fieldset', {}, make('legend', {}, 'As'), ...kinds),
    make('fieldset', { hidden: pictures.length < 2 }, make('legend', {}, 'What'), choice(radio('scope', 'one', true), `This picture: ${name}`),
      choice(radio('scope', 'all', false), `All ${pictures.length} pictures`), choice(only, 'of all, only those accepted')),
    make('button', { className: 'button solid', disabled: !pictures.length }, icon('export'), 'Save'));
  open('Export', form);
  form.elements.kind[0]?.focus();
}

const HELP = {
  Correct: {
    V: 'region: press one, choose or type a word; Shift adds regions', B: 'box: all regions that lie in it',
    P: 'brush; [ and ] change its radius', S: 'split: draw a line across a region', M: 'merge: press the regions',
    '1 – 9': 'the word of that number, while words are shown', T: 'whether corrections teach',
    'Ctrl Z': 'undo', 'Ctrl Shift Z': 'redo', Esc: 'drop what was begun',
  },
  Look: {
    O: 'outlines or tints', C: 'before and after', '+  −  0': 'zoom in, out, fit; the wheel and two fingers as well',
    Drag: 'moves a picture that is zoomed', W: 'why the region under the cursor got its word',
  },
  Pictures: { 'J  K': 'next, previous', A: 'accept, and on to the next', X: 'export', '/': 'to the words', '?': 'this sheet' },
  'On the picture': {
    Tab: 'to get there', Arrows: 'move a cursor; with Shift faster',
    Enter: 'uses the tool there; box, brush and line end with a second Enter',
  },
};
export function help() {
  const keys = Object.entries(HELP).map(([name, rows]) => make('section', {}, title(name), make('dl', {},
    ...Object.entries(rows).flatMap(([key, told]) => [make('dt', {}, make('kbd', {}, key)), make('dd', {}, told)]))));
  const { version, preset } = store.info;
  open('Keys', make('div', { className: 'keys' }, ...keys),
    make('p', { className: 'note' }, `freeda ${version}, preset ${preset}. For programs: `, make('a', { href: 'docs' }, 'the API'), '.'));
}

$('sheet-close').addEventListener('click', () => sheet.close());
sheet.addEventListener('close', () => document.querySelector('.line').append($('task')));
sheet.addEventListener('click', (event) => { if (event.target === sheet) sheet.close(); });
on('photo', () => { nth++; $('why').hidden = true; });
