// The small window at a region, box or stroke: choose a word or type one.
import { $, ink, make, percent } from './dom.js';
import { colour, emit, on, store } from './state.js';
import { why } from './panels.js';

const panel = $('choose'), input = $('choose-word'), list = $('choose-list'), exact = $('choose-exact').querySelector('input');
let asked = null, options = [], at = 0, last = '';

export const isOpen = () => !panel.hidden;

export function choose(request) { // {at, sides?, take(word, exact), regions?, name?, spot?, merge?, merging?, box?, brush?}
  asked = request;
  const known = (request.regions ?? []).map((one) => store.labels.regions.find((other) => other.region === one));
  const share = known.reduce((sum, one) => sum + (one?.share ?? 0), 0), many = known.length > 1;
  $('choose-title').textContent = request.box ? 'Box' : request.brush ? 'Brush: paint on, or choose'
    : many ? `${known.length} regions · ${percent(share)}` : `${request.name} · ${percent(share)}`;
  $('choose-exact').hidden = !request.box;
  $('choose-why').hidden = !request.spot || many;
  $('choose-merge').hidden = !many;
  $('choose-back').hidden = !known.some((one) => one?.corrected);
  $('choose-more').hidden = [...$('choose-more').children].every((one) => one.hidden);
  if (panel.hidden || !request.brush) input.value = '';
  panel.hidden = false;
  filter();
  place();
  (request.merging ? $('choose-merge') : matchMedia('(pointer: coarse)').matches ? panel : input).focus({ preventScroll: true });
}

function place() { // beside what is meant, inside the window; a phone has it at its lower edge
  const stage = $('stage').getBoundingClientRect(), [x, y] = [stage.left + asked.at[0], stage.top + asked.at[1]];
  const { offsetWidth: wide, offsetHeight: high } = panel, most = document.documentElement.clientWidth - wide - 8;
  const [low, far] = (asked.sides ?? asked.at.slice(0, 1)).map((side) => stage.left + side).concat(x);
  const spot = [far + 16, low - wide - 16, x + 20, x - wide - 20].find((side) => side >= 8 && side <= most) ?? 8;
  panel.style.left = `${Math.round(spot)}px`;
  panel.style.top = `${Math.round(Math.min(Math.max(8, y - 40), innerHeight - high - 8))}px`;
  if (document.documentElement.scrollHeight > innerHeight) scrollBy(0, Math.max(0, y + 60 - panel.getBoundingClientRect().top));
}

export function close() {
  if (panel.hidden) return;
  const inside = panel.contains(document.activeElement);
  panel.hidden = true;
  asked = null;
  if (inside) $('stage').focus({ preventScroll: true });
}

function filter() {
  const typed = input.value.trim(), low = typed.toLowerCase();
  const names = store.ws.classes.map((one) => one.name);
  options = names.filter((name) => name.toLowerCase().includes(low));
  if (typed && !names.includes(typed)) options.push(typed);
  const likely = typed ? options.findIndex((name) => name.toLowerCase().startsWith(low)) : options.indexOf(last || asked.name);
  at = Math.max(0, likely);
  list.replaceChildren(...options.map((name, i) => {
    const fresh = !names.includes(name), dot = make('i', {}, fresh ? '+' : i < 9 && !typed ? String(i + 1) : '');
    if (!fresh) Object.assign(dot.style, { background: colour(name), color: ink(colour(name)) });
    return make('li', { role: 'option', id: `choose-${i}`, onpointerdown: (event) => event.preventDefault(), onclick: () => take(name) },
      dot, make('span', {}, fresh ? `Add “${name}”` : name));
  }));
  mark();
}

function mark() {
  [...list.children].forEach((one, i) => one.setAttribute('aria-selected', String(i === at)));
  if (options.length) input.setAttribute('aria-activedescendant', `choose-${at}`); else input.removeAttribute('aria-activedescendant');
  list.children[at]?.scrollIntoView({ block: 'nearest' });
}

async function take(word) {
  if (!asked || !word) return;
  const { take: send } = asked;
  if (word) last = word;
  close();
  await send(word, exact.checked);
  emit('unmark');
}

input.addEventListener('input', filter);
panel.addEventListener('keydown', (event) => {
  event.stopPropagation();
  if (event.key === 'Escape') { close(); emit('unmark'); event.preventDefault(); return; }
  if (event.target !== input) return;
  const digit = input.value === '' && /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
    at = (at + (event.key === 'ArrowDown' ? 1 : -1) + options.length) % Math.max(1, options.length);
    mark();
  } else if (event.key === 'Enter') take(options[at]);
  else if (digit && options[digit - 1]) take(options[digit - 1]);
  else return;
  event.preventDefault();
});
$('choose-close').addEventListener('click', () => { close(); emit('unmark'); });
$('choose-why').addEventListener('click', () => { const { spot } = asked; close(); emit('unmark'); why(...spot); });
$('choose-merge').addEventListener('click', async () => { const { merge } = asked; close(); await merge(); emit('unmark'); });
$('choose-back').addEventListener('click', async () => { const { take: send } = asked; close(); await send(null); emit('unmark'); });
addEventListener('resize', () => { if (asked) place(); });
on('photo', close);
