// The picture: photograph, tints or outlines, words on it; zoom, pan, and the line between before and after.
import { $, ink, make, percent } from './dom.js';
import { outlines, places } from './map.js';
import { colour, current, look, on, store } from './state.js';

const stage = $('stage'), canvas = $('canvas'), context = canvas.getContext('2d'), names = $('names');
const FRAME = 12; // pixels of the page around a picture that fits
let size = [1, 1], scale = 1, left = 0, top = 0, fitted = true, asked = 0;
let shapes = new Map(), cuts = new Map(), standing = []; // outlines of labels, of regions, and words with their places
export const marks = { hover: null, draft: null, cursor: null }; // region pointed at, what a tool draws, keyboard's cursor

export const redraw = () => { asked ||= requestAnimationFrame(paint); };
const photo = () => (store.photo?.ready ? store.photo : null);
const least = () => Math.min((size[0] - 2 * FRAME) / photo().width, (size[1] - 2 * FRAME) / photo().height);

export const toPhoto = (x, y) => [(x - left) / scale, (y - top) / scale];
export const toStage = (x, y) => [x * scale + left, y * scale + top];
export const inPhoto = (x, y) => Boolean(photo()) && x >= 0 && y >= 0 && x < photo().width && y < photo().height;
export const zoomed = () => !fitted;

export function regionAt(x, y) { // {region, label, name} at a place of the photograph, or null
  const { map, labels } = store;
  if (!map || !inPhoto(x, y)) return null;
  const i = Math.floor(y * map.height / photo().height) * map.width + Math.floor(x * map.width / photo().width);
  if (map.region[i] < 0) return null;
  return { region: map.region[i], label: map.label[i], name: labels.classes.find((one) => one.number === map.label[i])?.name ?? 'no word' };
}

export function fit() {
  if (!photo()) return;
  fitted = true;
  scale = Math.max(least(), 1e-3);
  [left, top] = [(size[0] - scale * photo().width) / 2, (size[1] - scale * photo().height) / 2];
  redraw();
  settle();
}

export function zoom(factor, x = size[0] / 2, y = size[1] / 2) { // x, y: pixels of the stage that stay where they are
  if (!photo()) return;
  const next = Math.min(Math.max(scale * factor, least()), Math.max(40, least()));
  if (next <= least() * 1.001) { fit(); return; }
  fitted = false;
  [left, top] = [x - (x - left) * next / scale, y - (y - top) * next / scale];
  scale = next;
  pan(0, 0);
}

export function pan(dx, dy) {
  if (!photo() || fitted) return;
  const keep = (at, long, room) => (long <= room - 2 * FRAME ? (room - long) / 2 : Math.min(Math.max(at, room - long - FRAME), FRAME));
  left = keep(left + dx, scale * photo().width, size[0]);
  top = keep(top + dy, scale * photo().height, size[1]);
  redraw();
  settle();
}

export function reveal(x, y) { // bring a place of the photograph into sight
  const [sx, sy] = toStage(x, y), gap = 40;
  pan(Math.max(0, gap - sx) - Math.max(0, sx - size[0] + gap), Math.max(0, gap - sy) - Math.max(0, sy - size[1] + gap));
}

function shape() { // outlines and words anew: once for a map, not for a frame
  const { map, labels } = store;
  [shapes, cuts, standing] = [new Map(), new Map(), []];
  names.replaceChildren();
  if (!map) return;
  shapes = outlines(map.label, map.width, map.height, (label) => label > 0);
  place();
}

function place() { // words anew, where they have most room in what is seen
  const { map, labels } = store;
  if (!map || !photo()) return;
  const known = new Map(labels.classes.map((one) => [one.number, one.name])), share = (v) => Math.min(1, Math.max(0, v));
  const [wide, high] = [scale * photo().width, scale * photo().height];
  const seen = [-left / wide, -top / high, (size[0] - left) / wide, (size[1] - top) / high].map(share);
  standing = seen[2] <= seen[0] || seen[3] <= seen[1] ? [] : places(map, seen).map((one) => {
    const name = known.get(one.label);
    return { ...one, name, pill: make('span', {}, name) };
  });
  names.replaceChildren(...standing.map((one) => one.pill));
  standing.forEach((one) => { [one.wide, one.high] = [one.pill.offsetWidth, one.pill.offsetHeight]; });
  redraw();
}
let settling = 0;
const settle = () => { clearTimeout(settling); settling = setTimeout(place, 150); };

const cut = (region) => { // the outline of one region
  const { map } = store;
  if (allOf === map) return allCuts.get(region) ?? new Path2D();
  if (!cuts.has(region)) {
    cuts.set(region, outlines(map.region, map.width, map.height, (other) => other === region).get(region) ?? new Path2D());
  }
  return cuts.get(region);
};
let allCuts = null, allOf = null;
const everyCut = () => {
  const { map } = store;
  if (allOf !== map) [allCuts, allOf] = [outlines(map.region, map.width, map.height, (region) => region >= 0), map];
  return allCuts;
};

function paint() {
  asked = 0;
  const ratio = devicePixelRatio || 1, shown = photo();
  if (canvas.width !== Math.round(size[0] * ratio)) canvas.width = Math.round(size[0] * ratio);
  if (canvas.height !== Math.round(size[1] * ratio)) canvas.height = Math.round(size[1] * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, ...size);
  $('fit').textContent = shown ? `${Math.round(100 * scale)} %` : '100 %';
  if (!shown) return;
  const wide = scale * shown.width, high = scale * shown.height;
  context.imageSmoothingEnabled = scale < 6;
  context.imageSmoothingQuality = 'high';
  context.drawImage(shown.image, left, top, wide, high);
  const { compare, wipe } = store.view, edge = compare ? left + wipe * wide : left;
  if (store.map) {
    context.save();
    context.beginPath();
    context.rect(edge, top, left + wide - edge, high);
    context.clip();
    context.translate(left, top);
    const unit = wide / store.map.width; // pixels of the page that a pixel of the map takes
    context.scale(unit, high / store.map.height);
    labelled(unit);
    context.restore();
  }
  words(edge);
  drafts();
  const handle = $('wipe');
  handle.hidden = !compare;
  handle.style.left = `${edge}px`;
  handle.setAttribute('aria-valuenow', Math.round(100 * wipe));
}

const focus = () => store.hover ?? store.pinned;
const bright = (name) => (focus() ? focus() === name : !store.hidden.has(name));

function labelled(unit) {
  const { outline, opacity, tool } = store.view, strength = opacity / 100;
  const named = new Map(store.labels.classes.map((one) => [one.number, one.name]));
  if (focus()) veil([...shapes].filter(([label]) => named.get(label) === focus()).map(([, path]) => path));
  const seen = [...shapes].filter(([label]) => bright(named.get(label)));
  for (const [label, path] of seen) {
    context.fillStyle = colour(named.get(label));
    if (!outline) { // the photograph keeps its light and loses its own hues: a tint is seen on what has its colour, too
      context.globalCompositeOperation = 'color';
      context.globalAlpha = Math.min(1, 1.6 * strength);
      context.fill(path, 'evenodd');
      context.globalCompositeOperation = 'source-over';
      context.globalAlpha = 0.4 * strength;
      context.fill(path, 'evenodd');
    }
    context.globalAlpha = 1;
  }
  if (outline) for (const [label, path] of seen) border(path, colour(named.get(label)), 2.5, unit);
  else for (const [wide, line] of [[3.5, 'rgb(10 12 16 / .55)'], [1.5, '#ffffff']]) seam(seen, wide / unit, line);
  if (tool === 'split' || tool === 'merge') seam(everyCut(), 1 / unit, 'rgb(255 255 255 / .4)');
  if (marks.hover !== null) border(cut(marks.hover), '#ffffff', 2, unit);
  for (const region of store.chosen) {
    context.fillStyle = 'rgb(255 255 255 / .28)';
    context.fill(cut(region), 'evenodd');
    border(cut(region), '#ffd400', 2.5, unit);
  }
}

function veil(paths) { // all but these goes dark
  const all = new Path2D();
  all.rect(0, 0, store.map.width, store.map.height);
  paths.forEach((path) => all.addPath(path));
  context.fillStyle = 'rgb(10 12 16 / .62)';
  context.fill(all, 'evenodd');
}

function seam(lines, wide, line) { // between shapes
  context.lineJoin = 'round';
  context.lineWidth = wide;
  context.strokeStyle = line;
  for (const [, path] of lines) context.stroke(path);
}

function border(path, line, wide, unit) { // drawn inside its shape, light on dark
  context.save();
  context.clip(path, 'evenodd');
  context.lineJoin = 'round';
  context.lineWidth = 2 * (wide + 1) / unit;
  context.strokeStyle = 'rgb(10 12 16 / .55)';
  context.stroke(path);
  context.lineWidth = 2 * wide / unit;
  context.strokeStyle = line;
  context.stroke(path);
  context.restore();
}

function words(edge) { // those that have room, the largest first; none lies on another
  const taken = [], [wide, high] = [scale * photo().width, scale * photo().height];
  for (const one of standing) {
    const [x, y] = [left + one.x * wide, top + one.y * high], room = one.room * Math.max(wide, high);
    const box = [x - one.wide / 2, y - one.high / 2, x + one.wide / 2, y + one.high / 2];
    const shown = bright(one.name) && x > edge && x > 0 && y > 0 && x < size[0] && y < size[1] && room > (one.first ? 5 : 13)
      && !taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3]);
    one.pill.hidden = !shown;
    if (!shown) continue;
    taken.push(box);
    const tint = colour(one.name);
    Object.assign(one.pill.style, { background: tint, color: ink(tint) });
    const [px, py] = [[box[0], one.wide, left, wide, 0], [box[1], one.high, top, high, 1]].map(([at, own, from, long, axis]) =>
      Math.round(Math.max(Math.max(0, from) + 3, Math.min(at, Math.min(size[axis], from + long) - own - 3))));
    one.pill.style.transform = `translate(${px}px, ${py}px)`;
  }
}

function drafts() {
  const { draft, cursor } = marks;
  context.lineJoin = context.lineCap = 'round';
  for (const stroke of draft?.strokes ?? []) {
    const line = new Path2D();
    stroke.points.forEach((point, i) => line[i ? 'lineTo' : 'moveTo'](...toStage(...point)));
    if (stroke.points.length === 1) line.lineTo(...toStage(stroke.points[0][0] + 0.01, stroke.points[0][1]));
    for (const [more, tone] of [[3, 'rgb(10 12 16 / .5)'], [0, 'rgb(255 212 0 / .7)']]) {
      context.lineWidth = 2 * stroke.radius * scale + more;
      context.strokeStyle = tone;
      context.stroke(line);
    }
  }
  const path = new Path2D();
  if (draft?.box) {
    const [x0, y0] = toStage(...draft.box.slice(0, 2)), [x1, y1] = toStage(...draft.box.slice(2));
    path.rect(x0, y0, x1 - x0, y1 - y0);
  }
  draft?.line?.forEach((point, i) => path[i ? 'lineTo' : 'moveTo'](...toStage(...point)));
  if (cursor) {
    const [x, y] = toStage(...cursor), r = store.view.tool === 'brush' ? store.view.radius * scale : 9;
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
  }
  for (const [wide, line] of [[4, 'rgb(10 12 16 / .8)'], [2, '#ffd400']]) {
    context.lineWidth = wide;
    context.strokeStyle = line;
    context.stroke(path);
  }
}

export function extent(regions) { // [left, right] of regions, in pixels of the stage
  const { region, width } = store.map, wanted = new Set(regions);
  let [low, high] = [width, 0];
  for (let i = 0; i < region.length; i++) {
    if (wanted.has(region[i])) [low, high] = [Math.min(low, i % width), Math.max(high, i % width)];
  }
  return [low, high + 1].map((x) => left + x * scale * photo().width / width);
}

export function portrait(region, side = 176) { // a small picture of the photograph, dark but for a region
  const { image, width, height } = photo(), small = make('canvas', { role: 'img', 'aria-label': 'The region in the photograph' });
  [small.width, small.height] = [width, height].map((long) => Math.max(1, Math.round(long * side / Math.max(width, height))));
  const on = small.getContext('2d');
  on.drawImage(image, 0, 0, small.width, small.height);
  on.fillStyle = 'rgb(10 12 16 / .72)';
  on.fillRect(0, 0, small.width, small.height);
  on.scale(small.width / store.map.width, small.height / store.map.height);
  on.clip(cut(region), 'evenodd');
  on.drawImage(image, 0, 0, store.map.width, store.map.height);
  return small;
}

export function tip(x, y, at) { // what is under the pointer, beside it
  const told = at && store.labels.regions.find((one) => one.region === at.region);
  $('tip').hidden = !told;
  if (!told) return;
  const by = told.corrected ? 'by hand' : told.margin === null ? '' : `${told.margin.toFixed(2)} ahead`;
  $('tip').textContent = [at.name, by, percent(told.share)].filter(Boolean).join(' · ');
  const wide = $('tip').offsetWidth, right = x + 16 + wide > size[0] ? x - wide - 12 : x + 16;
  $('tip').style.transform = `translate(${Math.round(right)}px, ${Math.round(Math.max(4, y - 14))}px)`;
}

const wiped = (share) => look({ wipe: Math.min(1, Math.max(0, share)) });
for (const name of ['pointerdown', 'pointermove', 'wheel']) $('radius').addEventListener(name, (event) => event.stopPropagation());
$('wipe').addEventListener('pointerdown', (event) => { $('wipe').setPointerCapture(event.pointerId); event.stopPropagation(); });
$('wipe').addEventListener('pointermove', (event) => {
  const x = event.clientX - stage.getBoundingClientRect().left;
  if ($('wipe').hasPointerCapture(event.pointerId)) wiped((x - left) / (scale * photo().width));
  event.stopPropagation();
});
$('wipe').addEventListener('keydown', (event) => {
  const { wipe } = store.view, [less, more] = [wipe - 0.05, wipe + 0.05];
  const to = { ArrowLeft: less, ArrowDown: less, ArrowRight: more, ArrowUp: more, Home: 0, End: 1 }[event.key];
  if (to === undefined) return;
  wiped(to);
  event.preventDefault();
  event.stopPropagation();
});

new ResizeObserver(([entry]) => {
  size = [entry.contentRect.width, entry.contentRect.height];
  if (fitted) fit(); else pan(0, 0);
  redraw();
}).observe(stage);
on('photo', () => { marks.cursor = marks.draft = marks.hover = null; fit(); shape(); redraw(); });
on('labels', () => { marks.hover = null; shape(); redraw(); });
on('look', redraw);
for (const event of ['state', 'photo']) {
  on(event, () => {
    $('empty').hidden = Boolean(photo());
    $('empty').textContent = current() ? `Opening ${current().name} …` : 'Open a photograph, or choose an example above.';
    redraw();
  });
}
