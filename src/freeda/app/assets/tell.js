// What the page says: one line of errors (none is lost: they wait for each other), progress, and the live region.
import { $, iconButton, make, time } from './dom.js';

const errors = []; // {source, text}; the newest is shown
let running = []; // {what, began, stop, done, of, left}
let ticking = 0;

export const busy = () => running.length > 0;
export const say = (text) => { $('heard').textContent = text; };

export function wrong(text, source = '') {
  if (source) right(source);
  if (!errors.some((one) => one.text === text)) errors.push({ source, text });
  draw();
}

export const latest = () => errors.at(-1)?.text ?? '';

export function right(source) { // what was wrong with it is settled
  const before = errors.length;
  errors.splice(0, before, ...errors.filter((one) => one.source !== source));
  if (errors.length !== before) draw();
}

function draw() {
  const last = errors.at(-1);
  $('notice').hidden = Boolean(last);
  if (!last) { $('error').replaceChildren(); return; }
  const more = errors.length > 1 ? ` (and ${errors.length - 1} before)` : '';
  $('error').replaceChildren(
    make('span', { title: last.text }, last.text + more),
    iconButton('close', 'Dismiss', () => { errors.pop(); draw(); }));
}

// Work that may take over a second: shown from then on, with how long it takes, and cancelled by its button.
export async function task(what, work, source = what) {
  const stop = new AbortController();
  const one = { what, began: performance.now(), stop: () => stop.abort() };
  running.push(one);
  tick();
  try {
    const made = await work(stop.signal, (done, of, left) => { Object.assign(one, { done, of, left }); tick(); });
    right(source);
    return made;
  } catch (error) {
    if (error.name === 'AbortError') { if (stop.signal.aborted) say(`${what}: cancelled`); }
    else wrong(error.message, source);
    return undefined;
  } finally {
    running = running.filter((other) => other !== one);
    tick();
  }
}

let behind = null;
export function background(work) { behind = work; tick(); } // {what, done, of, left, stop, label} or null

function tick() {
  clearTimeout(ticking);
  const now = performance.now();
  const one = running.findLast((other) => now - other.began > 700) ?? behind;
  $('task').hidden = !one;
  if (one) {
    const bar = $('bar');
    if (one.of) { bar.max = one.of; bar.value = one.done; } else bar.removeAttribute('value');
    const counted = one.of > 1 ? ` ${one.done} of ${one.of}` : '';
    const left = one.left ? `, ${time(one.left)} left` : one.began ? `, ${time((now - one.began) / 1000)}` : '';
    $('doing').textContent = one.what + counted + left;
    bar.hidden = one.still ?? false;
    $('cancel').textContent = one.label ?? 'Cancel';
    $('cancel').onclick = one.stop;
  }
  if (running.length) ticking = setTimeout(tick, 300);
}
