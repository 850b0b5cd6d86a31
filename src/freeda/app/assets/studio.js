// The picture and its legend. The server sends labels; colours and opacities are mixed here, at once.
const find = (name) => element.querySelector('.' + name);
const picture = find('picture'), photo = find('photo'), paint = find('paint'), badges = find('badges');
const legend = find('legend'), note = find('note'), tip = find('tip'), cursor = find('cursor');
const drop = find('drop'), file = find('file'), opacity = find('opacity'), why = find('why'), below = find('below');
const mine = new Map(); // what the visitor chose for a word: {colour, opacity}; kept while the words change
let size = [1, 1], labels = null, classes = [], shown = {}, at = [0.5, 0.5], told = '';
let wish = 0, clicks = 0; // counts the photographs asked for, and the regions: a later one ends an earlier one
let ofWords = false; // whether the note is about the words
let before = null, put = null; // the words when a scene was asked for, and the last ones that came with one

const look = (entry) => ({ colour: entry.colour, opacity: null, ...mine.get(entry.name) });
const strength = (entry) => look(entry).opacity ?? Number(opacity.value) / 100;
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const dark = (hex) => {
  const c = rgb(hex).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2] <= 0.25;
};
const letters = (hex) => (dark(hex) ? '#ffffff' : '#14161c');
const make = (kind, name, text) => {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text; // never innerHTML: words come from people
  return made;
};

async function read(url) { // a grey PNG back to its values
  const bitmap = await createImageBitmap(await (await fetch(url)).blob(), { colorSpaceConversion: 'none' });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const values = new Uint8Array(bitmap.width * bitmap.height);
  for (let i = 0; i < values.length; i++) values[i] = pixels[4 * i];
  return { width: bitmap.width, height: bitmap.height, values };
}

function repaint() {
  if (!labels) { paint.width = paint.height = 1; return; } // which also clears it
  const { width, height, values } = labels;
  const factor = Math.max(1, Math.round(640 / Math.max(width, height))); // thin borders on small pictures
  paint.width = width * factor; paint.height = height * factor;
  const context = paint.getContext('2d');
  const image = context.createImageData(paint.width, paint.height);
  const words = new Uint32Array(image.data.buffer);
  const tints = classes.map((entry) => {
    const [r, g, b] = rgb(look(entry).colour);
    return ((Math.round(255 * strength(entry)) << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
  const seam = 0xe6ffffff;
  for (let y = 0, i = 0; y < paint.height; y++) {
    const row = Math.floor(y / factor) * width, below = Math.min(Math.floor((y + 1) / factor), height - 1) * width;
    for (let x = 0; x < paint.width; x++, i++) {
      const column = Math.floor(x / factor), label = values[row + column];
      const next = values[row + Math.min(Math.floor((x + 1) / factor), width - 1)];
      words[i] = label !== next || label !== values[below + column] ? seam : tints[label];
    }
  }
  context.putImageData(image, 0, 0);
}

function place(x, y, child) { child.style.left = 100 * x + '%'; child.style.top = 100 * y + '%'; return child; }

function number(list) {
  badges.replaceChildren(...list.map(([x, y, label]) => {
    const colour = look(classes[label]).colour;
    const badge = place(x, y, make('span', 'badge', String(classes[label].number)));
    badge.style.background = colour; badge.style.color = letters(colour);
    return badge;
  }));
}

function row(entry) {
  const line = make('li', entry.share ? '' : 'absent');
  const colour = look(entry).colour;
  const chip = make('label', 'chip', String(entry.number));
  chip.style.background = colour; chip.style.color = letters(colour);
  const pick = make('input'); pick.type = 'color'; pick.value = colour;
  pick.setAttribute('aria-label', `Colour of ${entry.name}, number ${entry.number}`);
  pick.addEventListener('input', () => {
    mine.set(entry.name, { ...look(entry), colour: pick.value });
    chip.style.background = pick.value; chip.style.color = letters(pick.value);
    repaint(); number(shown.badges); tint();
  });
  chip.append(pick);
  const slide = make('input', 'own'); slide.type = 'range'; slide.min = 0; slide.max = 100;
  slide.value = Math.round(100 * strength(entry));
  slide.setAttribute('aria-label', `Opacity of ${entry.name}`);
  slide.addEventListener('input', () => {
    mine.set(entry.name, { ...look(entry), opacity: Number(slide.value) / 100 }); repaint();
  });
  const bar = make('span', 'bar'); bar.style.width = 100 * entry.share + '%'; bar.style.background = colour;
  const word = make('span', 'word', entry.name); word.title = entry.name;
  const middle = make('span', 'middle'); middle.append(word, make('span', 'caveat', entry.caveat), bar);
  line.append(chip, middle, make('span', 'share', percent(entry.share)), slide);
  return line;
}

const percent = (share) => (share >= 0.0005 ? (100 * share).toFixed(1) + ' %' : share ? '< 0.1 %' : '0 %');
const say = (text) => { find('heard').textContent = text; }; // for who cannot see the picture
function remark(text, bad = false, words = false) { note.textContent = text; note.classList.toggle('bad', bad); ofWords = words; }

function explain(html, near) { // made by the server, which escapes every word in it
  below.innerHTML = near;
  if (html && html === told) return; // only more pictures
  told = why.innerHTML = html;
  if (html) say([...why.querySelectorAll('.verdict p')].map((line) => line.innerText.replace(/\s+/g, ' ')).join(': '));
  else why.append(make('p', 'empty', 'Click a region to see why it got its word.'));
  tint();
}

function tint() { // the visitor's own colours
  for (const part of why.querySelectorAll('[data-label]')) {
    const colour = look(classes[part.dataset.label]).colour;
    part.style.background = colour; part.style.color = letters(colour);
  }
}

function open(value) {
  photo.src = value.photo; photo.alt = value.name;
  size = [value.width, value.height];
  const wide = Math.min(Math.max(size[0] / size[1], 0.1), 10); // a strip stays wide enough to be seen
  picture.style.aspectRatio = wide;
  picture.style.setProperty('--wide', wide);
  at = [0.5, 0.5];
  if (!value.labels) show({ number: value.number, turn: 0, classes: [], badges: [] }, null);
}

function show(value, map) {
  labels = map; classes = value.classes; shown = value;
  repaint(); number(value.badges);
  const order = [...classes].sort((a, b) => b.share - a.share || a.number - b.number);
  legend.replaceChildren(...order.map(row));
  find('caveat').textContent = value.caveat || '';
  find('about').textContent = value.caveat ? '' : props.about; // which says the same of all pictures
  const there = order.filter((entry) => entry.share);
  say([
    there.slice(0, 5).map((entry) => `${entry.name} ${percent(entry.share)}`).join(', '),
    ...there.filter((entry) => entry.caveat).map((entry) => `${entry.name}: ${entry.caveat}`),
    ...(value.caveat ? [value.caveat] : []),
  ].join('. '));
  explain('', ''); cursor.hidden = true;
}

function take(words) { // a scene's own words, unless others were typed since it was asked for
  const box = document.querySelector('#words textarea, #words input');
  if (!box || ![before, put].includes(box.value)) return;
  box.value = put = words;
  box.dispatchEvent(new Event('input', { bubbles: true }));
}

async function update(value) {
  const map = value.labels ? await read(value.labels) : null;
  if (value.photo) open(value);
  const [number, turn] = [value.number ?? shown.number, value.turn ?? shown.turn];
  if (number !== shown.number && !value.photo) { // of a photograph put away, or of one that has not come
    if (number > (shown.number ?? 0)) trigger('again');
    return;
  }
  if (value.why && (turn !== shown.turn || value.nth !== clicks)) return; // of other words, of another region
  const fresh = map && (value.photo || turn > shown.turn);
  if (fresh) show(value, map);
  if (value.why) explain(value.why, value.near);
  if (value.file) {
    const link = make('a'); link.download = value.name;
    link.href = (window.gradio_config?.root || '') + '/gradio_api/file=' + encodeURI(value.file);
    link.click();
  }
  if (value.note || fresh || value.file || (ofWords && 'asked' in value)) {
    remark(value.note || value.hint || '', Boolean(value.note), 'asked' in value);
  }
  if ('asked' in value) element.dataset.asked = value.asked; // the words that are answered
  if ('words' in value) take(value.words);
}

function wordAt(x, y) {
  if (!labels) return null;
  const column = Math.min(labels.width - 1, Math.floor(x * labels.width));
  return classes[labels.values[Math.min(labels.height - 1, Math.floor(y * labels.height)) * labels.width + column]];
}
function tell(x, y) {
  const entry = wordAt(x, y);
  tip.hidden = !entry;
  if (entry) { tip.textContent = `${entry.number}  ${entry.name}`; place(x, y, tip); tip.classList.toggle('left', x > 0.7); }
}
const spot = (event) => {
  const box = picture.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((v) => Math.min(Math.max(v, 0), 0.999999));
};
function ask(x, y) {
  at = [x, y]; place(x, y, cursor).hidden = false;
  trigger('pick', { x: Math.floor(x * size[0]), y: Math.floor(y * size[1]), nth: ++clicks });
}

picture.addEventListener('click', (event) => ask(...spot(event)));
picture.addEventListener('pointermove', (event) => tell(...spot(event)));
picture.addEventListener('pointerleave', () => { tip.hidden = true; });
picture.addEventListener('keydown', (event) => {
  const step = event.shiftKey ? 0.1 : 0.02;
  const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
  if (move) {
    at = at.map((v, i) => Math.min(Math.max(v + move[i], 0), 0.999999));
    place(...at, cursor).hidden = false; tell(...at);
    const entry = wordAt(...at);
    if (entry) say(`${entry.number} ${entry.name}`);
  } else if (event.key === 'Enter' || event.key === ' ') ask(...at);
  else return;
  event.preventDefault();
});
opacity.addEventListener('input', () => {
  for (const [name, chosen] of mine) mine.set(name, { ...chosen, opacity: null });
  legend.querySelectorAll('.own').forEach((slide) => { slide.value = opacity.value; });
  repaint();
});

async function send(chosen) {
  if (!chosen) return;
  if (!chosen.type.startsWith('image/')) { remark(`${chosen.name} is no image`, true); return; }
  if (chosen.size > props.most) {
    remark(`${chosen.name} is too large: at most ${Math.round(props.most / 1e6)} MB`, true); return;
  }
  remark('Opening ' + chosen.name + ' ...');
  const mine = ++wish;
  try {
    const { path } = await upload(chosen);
    if (mine === wish) trigger('opened', { path, name: chosen.name, wish: mine }); // else another was asked for meanwhile
  } catch { if (mine === wish) remark(`${chosen.name} could not be sent`, true); }
}
file.addEventListener('change', () => { send(file.files[0]); file.value = ''; });
picture.addEventListener('dragover', (event) => { event.preventDefault(); drop.hidden = false; });
picture.addEventListener('dragleave', () => { drop.hidden = true; });
picture.addEventListener('drop', (event) => { event.preventDefault(); drop.hidden = true; send(event.dataTransfer.files[0]); });

find('about').textContent = props.about || '';
for (const [kind, words] of props.kinds) {
  const option = make('option', '', words); option.value = kind; find('kind').append(option);
}
find('download').addEventListener('click', () => trigger('download', {
  kind: find('kind').value, turn: shown.turn,
  colours: classes.map((entry) => look(entry).colour), // files look as the page does
  opacities: classes.map(strength),
}));

props.samples.forEach(([words, url], index) => {
  const button = make('button', 'sample'); button.type = 'button'; button.title = words;
  const image = make('img'); image.src = url; image.alt = 'Scene with ' + words;
  button.append(image);
  button.addEventListener('click', () => {
    before = document.querySelector('#words textarea, #words input')?.value;
    trigger('sample', { index, wish: ++wish });
  });
  find('samples').append(button);
});

let done = Promise.resolve(); // one answer after the other
const next = () => {
  const value = props.value;
  if (value) done = done.then(() => update(value)).catch(reportError);
};
watch('value', next);
next();
// After the answer that it follows; by itself, so that Gradio sees what that answer asked for in turn.
find('studio').addEventListener('settle', () => { done.then(() => setTimeout(() => trigger('submit'))); });
