// What pointers and keys do on the picture: point, box, brush, split, merge; and pan and pinch with any of them.
import { $ } from './dom.js';
import { extent, inPhoto, marks, pan, redraw, regionAt, reveal, tip, toPhoto, toStage, zoom, zoomed } from './canvas.js';
import { choose, close, isOpen } from './choose.js';
import { correct, look, on, store } from './state.js';
import { say, wrong } from './tell.js';

const stage = $('stage'), pointers = new Map();
let began = null; // {x, y, moved, tool}: a press that has not ended
let strokes = []; // of the brush, until a word is chosen

const spot = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
const within = (v, long) => Math.round(10 * Math.min(Math.max(v, 0), long - 1)) / 10;
const clamp = ([x, y]) => [within(x, store.photo.width), within(y, store.photo.height)];

function forget() { // a draft that is not wanted
  strokes = [];
  store.chosen.clear();
  Object.assign(marks, { draft: null });
  redraw();
}

function point(x, y, more) { // a press at one place of the photograph; `more` adds to what is chosen
  const at = regionAt(x, y), merging = store.view.tool === 'merge';
  if (!at) { forget(); close(); return; }
  const { chosen } = store;
  if (!more && !merging) chosen.clear();
  if (chosen.has(at.region) && (more || merging)) chosen.delete(at.region); else chosen.add(at.region);
  redraw();
  if (merging && !isOpen() && chosen.size < 2) { say(`${at.name} chosen: press another region to merge with`); return; }
  if (!chosen.size || (merging && chosen.size < 2)) { close(); return; }
  const regions = [...chosen];
  tip(0, 0, null);
  choose({
    at: toStage(x, y), sides: extent(regions), regions, name: at.name, spot: [Math.floor(x), Math.floor(y)], merging,
    take: (word) => correct({ kind: 'region', regions, word }),
    merge: () => correct({ kind: 'merge', regions }),
  });
}

function begin(x, y) {
  const { tool, radius } = store.view, at = clamp([x, y]);
  tip(0, 0, null);
  if (tool === 'box') marks.draft = { box: [...at, ...at] };
  if (tool === 'brush') { strokes.push({ points: [at], radius }); marks.draft = { strokes }; }
  if (tool === 'split') marks.draft = { line: [at] };
  redraw();
}

function extend(x, y) {
  const { draft } = marks, at = clamp([x, y]);
  if (!draft) return;
  if (draft.box) draft.box.splice(2, 2, ...at);
  if (draft.line) draft.line.push(at);
  if (draft.strokes) {
    const { points, radius } = draft.strokes.at(-1), last = points.at(-1);
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) > radius / 3) points.push(at);
  }
  redraw();
}

function finish(x, y) {
  const { draft } = marks;
  if (!draft) return;
  if (draft.box) {
    const [xs, ys] = [[draft.box[0], draft.box[2]], [draft.box[1], draft.box[3]]];
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1];
    if (box[2] - box[0] < 4 || box[3] - box[1] < 4) { forget(); return; }
    const sides = [box[0], box[2]].map((v) => toStage(v, 0)[0]), take = (word, exact) => correct({ kind: 'box', box, word, exact });
    choose({ at: toStage(x, y), sides, box: true, take });
  } else if (draft.strokes) {
    const sent = draft.strokes;
    choose({ at: toStage(x, y), brush: true, take: (word) => correct({ kind: 'brush', strokes: sent, word }) });
  } else if (draft.line) {
    const region = busiest(draft.line);
    if (draft.line.length > 1 && region !== null) correct({ kind: 'split', region, line: draft.line });
    else wrong('draw the line across the region that is to be split', 'correct');
    forget();
  }
}

function busiest(line) { // the region that most of the line lies in
  const count = new Map();
  line.slice(1).forEach(([x, y], i) => {
    const [a, b] = line[i], steps = Math.max(1, Math.ceil(Math.hypot(x - a, y - b)));
    for (let s = 0; s <= steps; s++) {
      const at = regionAt(a + (x - a) * s / steps, b + (y - b) * s / steps);
      if (at) count.set(at.region, (count.get(at.region) ?? 0) + 1);
    }
  });
  return [...count].sort((a, b) => b[1] - a[1])[0]?.[0] ?? null;
}

stage.addEventListener('pointerdown', (event) => {
  if (event.button === 2 || !store.photo?.ready) return;
  pointers.set(event.pointerId, spot(event));
  stage.setPointerCapture(event.pointerId);
  marks.cursor = null;
  if (pointers.size > 1) { if (began?.drawing) forget(); began = null; return; } // a pinch is no stroke
  const [x, y] = spot(event), { tool } = store.view, place = toPhoto(x, y);
  const drawing = event.button === 0 && inPhoto(...place) && ['box', 'brush', 'split'].includes(tool);
  began = { x, y, drawing, moved: false };
  if (drawing && !event.shiftKey) { if (tool !== 'brush') close(); begin(...place); } else began.drawing = false;
});

stage.addEventListener('pointermove', (event) => {
  const [x, y] = spot(event), before = pointers.get(event.pointerId);
  if (before && pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]), is = Math.hypot(x - other[0], y - other[1]);
    if (was > 0) zoom(is / was, (x + other[0]) / 2, (y + other[1]) / 2);
    pan((x - before[0]) / 2, (y - before[1]) / 2);
    pointers.set(event.pointerId, [x, y]);
    return;
  }
  if (before) pointers.set(event.pointerId, [x, y]);
  if (began?.drawing) { extend(...toPhoto(x, y)); return; }
  if (began) {
    began.moved ||= Math.hypot(x - began.x, y - began.y) > 4;
    if (began.moved) pan(x - before[0], y - before[1]);
    return;
  }
  const at = event.pointerType === 'mouse' ? regionAt(...toPhoto(x, y)) : null, region = at?.region ?? null;
  if (store.view.tool === 'brush' && event.pointerType === 'mouse') {
    marks.cursor = inPhoto(...toPhoto(x, y)) ? toPhoto(x, y) : null;
    redraw();
  }
  if (region !== marks.hover && store.view.tool !== 'brush') { marks.hover = region; redraw(); }
  tip(x, y, isOpen() ? null : at);
});

function end(event) {
  const was = pointers.delete(event.pointerId);
  if (!was || !began || pointers.size) { if (!pointers.size) began = null; return; }
  const { drawing, moved } = began, [x, y] = spot(event);
  began = null;
  if (event.type === 'pointercancel') { if (drawing) forget(); return; }
  if (drawing) finish(...toPhoto(x, y));
  else if (!moved && event.button === 0 && ['region', 'merge'].includes(store.view.tool)) point(...toPhoto(x, y), event.shiftKey);
}
stage.addEventListener('pointerup', end);
stage.addEventListener('pointercancel', end);
stage.addEventListener('pointerleave', () => { marks.hover = null; if (!began) marks.cursor = null; tip(0, 0, null); redraw(); });
stage.addEventListener('wheel', (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), ...spot(event));
}, { passive: false });
stage.addEventListener('dblclick', (event) => { if (store.view.tool === 'region' && !inPhoto(...toPhoto(...spot(event)))) zoom(0); });

stage.addEventListener('keydown', (event) => { // all of it without a pointer
  if (event.target !== stage || !store.photo?.ready || event.ctrlKey || event.metaKey || event.altKey) return;
  const { width, height } = store.photo, step = Math.max(width, height) / (event.shiftKey ? 10 : 64);
  const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  marks.cursor ??= [width / 2, height / 2];
  const { cursor } = marks;
  if (move) {
    marks.cursor = clamp([cursor[0] + move[0], cursor[1] + move[1]]);
    if (began?.keys) extend(...marks.cursor);
    reveal(...marks.cursor);
    const at = regionAt(...marks.cursor);
    tip(...toStage(...marks.cursor), at);
    if (at) say(at.name);
  } else if (event.key === 'Enter' || event.key === ' ') {
    if (['region', 'merge'].includes(store.view.tool)) point(...cursor, event.shiftKey);
    else if (began?.keys) { began = null; finish(...cursor); } else {
      began = { keys: true };
      begin(...cursor);
      say('Started: move, then press Enter to finish');
    }
  } else return;
  event.preventDefault();
  redraw();
});

export const escape = () => { began = null; forget(); close(); };
export function use(tool) { escape(); look({ tool }); }
on('unmark', forget);
on('labels', () => { if (!isOpen()) forget(); });
on('look', () => {
  stage.dataset.tool = store.view.tool;
  stage.classList.toggle('free', !zoomed() && ['region', 'merge'].includes(store.view.tool)); // a swipe scrolls a phone's page
});
