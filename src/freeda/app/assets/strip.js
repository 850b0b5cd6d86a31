// The pictures as a strip, the most uncertain first, and what is said of the current one.
import { $, icon, make, percent, plural } from './dom.js';
import { accept, current, on, remove, show, step, store } from './state.js';

const items = new Map(), told = (one) => one.error ?? (one.state === 'working' ? 'being labelled' : one.state);

function item(one, most) {
  let made = items.get(one.id);
  if (!made) {
    const src = `api/workspaces/${store.ws.id}/pictures/${one.id}/image?side=160`;
    const image = make('img', { src, alt: '', loading: 'lazy', draggable: false });
    const mark = make('span', { className: 'mark' }), bar = make('span', { className: 'doubt' });
    const button = make('button', { type: 'button', onclick: () => show(one.id) }, image, mark, bar);
    made = { line: make('li', {}, button), button, mark, bar, state: '' };
    items.set(one.id, made);
  }
  const { button, mark, bar } = made, here = one.id === store.picture;
  if (here) button.setAttribute('aria-current', 'true'); else button.removeAttribute('aria-current');
  const doubt = one.uncertainty === null ? '' : `, uncertainty ${percent(one.uncertainty)}`;
  button.setAttribute('aria-label', `${one.name}, ${told(one)}${doubt}`);
  button.title = `${one.name}: ${told(one)}`;
  button.className = one.state;
  if (made.state !== one.state) mark.replaceChildren(...(one.state === 'accepted' ? [icon('check')] : one.state === 'failed' ? ['!'] : []));
  made.state = one.state;
  bar.style.width = `${100 * (one.state === 'accepted' ? 0 : one.uncertainty ?? 0) / most}%`;
  return made.line;
}

let order = '', at = '', of = '';
function draw() {
  if (!store.ws) return;
  const { pictures, id, folder } = store.ws, one = current();
  if (of !== id) { items.clear(); of = id; order = ''; }
  $('strip').hidden = pictures.length < 2;
  const most = Math.max(1e-6, ...pictures.map((other) => other.uncertainty ?? 0)); // the bars compare the pictures
  const lines = pictures.map((other) => item(other, most)), now = pictures.map((other) => other.id).join();
  if (now !== order) {
    const focus = document.activeElement, kept = $('strip').contains(focus);
    $('strip').replaceChildren(...lines);
    if (kept) focus.focus({ preventScroll: true });
    order = now;
  }
  if (at !== store.picture && one) {
    const strip = $('strip'), { line } = items.get(one.id), from = line.offsetLeft - strip.offsetLeft;
    strip.scrollLeft = Math.min(from, Math.max(strip.scrollLeft, from + line.offsetWidth - strip.clientWidth + 8));
    at = store.picture;
  }
  $('walk').hidden = pictures.length < 2;
  const accepted = pictures.filter((other) => other.state === 'accepted').length, done = one?.state === 'accepted';
  $('about').replaceChildren(...(one ? [make('b', {}, one.name), make('span', {}, [`${one.width} × ${one.height}`,
    told(one) === 'labelled' ? '' : told(one), one.corrections ? plural(one.corrections, 'correction') : '',
    pictures.length > 1 ? `${accepted} of ${pictures.length} accepted` : ''].filter(Boolean).join(' · '))] : []));
  $('remove').hidden = Boolean(folder) || !one;
  $('accept').disabled = !one || !['labelled', 'accepted'].includes(one.state);
  $('accept').replaceChildren(icon('check'), make('span', {}, done ? 'Accepted' : pictures.length > 1 ? 'Accept and next' : 'Accept'));
  $('accept').setAttribute('aria-pressed', String(done));
}

export const toggle = () => current() && !$('accept').disabled && accept(current().state !== 'accepted');
$('accept').addEventListener('click', toggle);
$('remove').addEventListener('click', remove);
$('before').addEventListener('click', () => step(-1));
$('after').addEventListener('click', () => step(1));
on('state', draw);
