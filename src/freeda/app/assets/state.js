// What the page knows, and what it asks of the server. Others listen to 'state', 'labels', 'photo' and 'look'.
import { call, pause, request } from './api.js';
import { decode } from './map.js';
import { background, right, say, task, wrong } from './tell.js';
import { percent } from './dom.js';

const kept = (() => { try { return JSON.parse(localStorage.getItem('freeda')) ?? {}; } catch { return {}; } })();
export const store = {
  info: null,
  ws: null, // the workspace as the server tells it
  labels: null, // of the picture that is shown, with `of`: its id
  map: null,
  photo: null, // {id, image}
  picture: kept.picture ?? null,
  typed: null, // words that the server has not taken (yet)
  pending: {}, // settings that it has not
  colours: {}, // colours that it has not, by name
  view: { outline: false, opacity: 50, teach: true, radius: 16, tool: 'region', compare: false, wipe: 0.5, theme: '', ...kept.view },
  hidden: new Set(), // names whose eye is closed
  hover: null, // the name that is pointed at in the legend
  pinned: null, // the name that was clicked there
  chosen: new Set(), // regions
};
const listeners = {};
export const on = (event, heard) => (listeners[event] ??= []).push(heard);
export const emit = (event) => (listeners[event] ?? []).forEach((heard) => heard());

function remember() {
  const { ws, picture, view } = store;
  if (ws && !ws.folder) Object.assign(kept, { workspace: ws.id, words: words(), settings: settings() });
  Object.assign(kept, { picture, view, colours: { ...kept.colours, ...store.colours } });
  try { localStorage.setItem('freeda', JSON.stringify(kept)); } catch { /* denied */ }
}

export const look = (change) => { Object.assign(store.view, change); remember(); emit('look'); };
export const current = () => store.ws?.pictures.find((one) => one.id === store.picture) ?? null;
export const words = () => store.typed ?? store.ws?.words ?? '';
export const settings = () => ({ ...store.ws?.settings, ...store.pending });
export const colour = (name) => store.colours[name] ?? store.ws?.classes.find((one) => one.name === name)?.colour ?? '#80868f';
const here = (rest = '') => `workspaces/${store.ws.id}${rest}`;
const ofPicture = (rest) => here(`/pictures/${store.picture}${rest}`);

let epoch = 0;
function forget() { epoch++; if (store.labels) store.labels.version = -1; } // labels are asked for anew, whatever their version

function take(state, anyway = false) { // a newer state of this workspace, or another workspace
  if (store.ws?.id === state.id && state.revision < store.ws.revision && !anyway) return;
  if (anyway) forget(); // a server that began anew counts anew
  const moved = store.ws?.id !== state.id;
  store.ws = state;
  if (!current()) store.picture = state.pictures[0]?.id ?? null;
  const { work } = state, stopped = work?.what === 'stopped';
  const turn = () => task(stopped ? 'Going on' : 'Stopping', () => act(stopped ? 'POST' : 'DELETE', '/work'));
  background(work && { ...work, what: work.what[0].toUpperCase() + work.what.slice(1), left: work.seconds_left,
    label: stopped ? 'Go on' : 'Cancel', stop: turn });
  remember();
  emit('state');
  refresh();
  if (moved) follow(state.id);
}

async function follow(id) { // what others do, and what the server does by itself
  let lost = false;
  while (store.ws.id === id) {
    try {
      const state = await call('GET', `workspaces/${id}${lost ? '' : `?after=${store.ws.revision}&wait=20`}`);
      right('server');
      if (store.ws.id === id) take(state, lost);
      lost = false;
    } catch (error) {
      if (store.ws.id !== id) return;
      lost = true;
      if (error.status === 404) await begin().catch((other) => wrong(other.message, 'server'));
      else wrong(error.message, 'server');
      if (store.ws.id === id) await pause(2);
    }
  }
}

export async function start() {
  while (!store.ws) {
    try {
      if (!store.info) { store.info = await call('GET', 'info'); emit('info'); }
      await begin();
      right('server');
    } catch (error) { wrong(error.message, 'server'); await pause(3); }
  }
}

async function begin() { // as it was left, or a new workspace with the words that were typed
  const { folder, samples } = store.info, before = folder?.id ?? kept.workspace;
  const { words: mine, settings: own, colours } = kept;
  if (before) {
    try {
      take(await call('GET', `workspaces/${before}`));
      if (!folder && mine !== undefined && mine !== store.ws.words) await type(mine, own);
      return;
    } catch (error) { if (error.status !== 404) throw error; }
    wrong('the server has put your photographs away: open them again');
  }
  take(await call('POST', 'workspaces', samples.length ? { sample: 0 } : {}));
  if (mine !== undefined) await type(mine, own, colours);
}

export async function sample(index) {
  const { name, url, words: its } = store.info.samples[index], known = store.info.samples.map((one) => one.words);
  const mine = known.includes(words()) ? null : words(), own = settings(); // what a person typed stays
  const used = store.ws.undo || store.ws.pictures.some((one) => !store.info.samples.some((other) => one.name.startsWith(other.name)));
  if (used) { // beside what is there
    const blob = await task('Opening', async () => (await fetch(url)).blob());
    if (blob) await open([new File([blob], name.includes('.') ? name : `${name}.png`, { type: blob.type })]);
    return;
  }
  await task('Opening', async (signal) => {
    take(await call('POST', 'workspaces', { sample: index }, signal));
    await type(mine ?? its, own);
  });
}

export const open = (files) => task('Opening ' + (files.length === 1 ? files[0].name : `${files.length} photographs`), async (signal) => {
  const most = 1e6 * (store.info.limits.upload_megabytes ?? Infinity), form = new FormData();
  for (const file of files) {
    if (file.size > most) throw new Error(`${file.name} is too large: at most ${Math.round(most / 1e6)} MB`);
    form.append('files', file);
  }
  const before = new Set(store.ws.pictures.map((one) => one.id));
  const state = await call('POST', here('/pictures'), form, signal);
  store.picture = state.pictures.find((one) => !before.has(one.id))?.id ?? store.picture;
  take(state);
});

let typing = null;
export async function type(text, changed = {}, colours = {}) { // as they stand now; an earlier answer is not waited for
  typing?.abort();
  const mine = typing = new AbortController();
  store.typed = text;
  Object.assign(store.pending, changed);
  Object.assign(store.colours, colours);
  remember();
  await task('Labelling', async (signal) => {
    signal.addEventListener('abort', () => mine.abort());
    const chosen = Object.keys(store.colours).length ? { colours: kept.colours } : {};
    const state = await call('PUT', here('/words'), { words: text, settings: settings(), ...chosen }, mine.signal);
    if (mine !== typing) return;
    Object.assign(store, { typed: null, pending: {}, colours: {} });
    take(state);
  }, 'words');
}

async function act(method, rest, body) { take(await call(method, here(rest), body)); }
const back = (what, path) => task(what, async () => {
  const state = await call('POST', here(path));
  forget();
  take(state);
}, path);
export const undo = () => store.ws.undo && back('Undoing', '/undo');
export const redo = () => store.ws.redo && back('Redoing', '/redo');
export const remove = () => task('Removing', () => act('DELETE', `/pictures/${store.picture}`));
export const accept = async (accepted) => {
  const seen = accepted && store.labels?.of === store.picture ? { version: store.labels.version } : {}; // nobody accepts what was not seen
  const path = `/pictures/${store.picture}/accept`;
  const done = await task('Accepting', async () => { await act('POST', path, { accepted, ...seen }); return true; });
  const next = store.ws.pictures.find((one) => one.state !== 'accepted' && one.id !== store.picture);
  if (done && accepted) { say('accepted'); if (next) show(next.id); }
};

export const correct = (body) => task('Correcting', async (signal) => {
  const id = store.picture, teach = store.view.teach && Boolean(body.word);
  const answer = await call('POST', ofPicture('/corrections'), { ...body, teach }, signal);
  store.chosen.clear();
  take(answer.state);
  if (store.picture === id) say(body.word ? `now ${body.word}` : 'done');
}, 'correct');

export function show(id) { store.picture = id; store.chosen.clear(); remember(); emit('state'); emit('look'); refresh(); }
export function step(by) {
  const list = store.ws.pictures, at = list.findIndex((one) => one.id === store.picture);
  if (list.length > 1) show(list[(at + by + list.length) % list.length].id);
}

export const explain = (x, y, pictures, signal) => call('POST', ofPicture('/explain'), { x, y, pictures }, signal);

let running = false, again = false;
async function refresh() { // the photograph and labels of the current picture, one after the other, until they are its own
  again = true;
  if (running) return;
  running = true;
  try {
    while (again) {
      again = false;
      const one = current();
      if (!one) { Object.assign(store, { photo: null, labels: null, map: null }); emit('photo'); } else {
        if (store.photo?.id !== one.id) await photograph(one);
        await labels(one, 3);
      }
    }
  } finally { running = false; }
}

async function labels(one, tries) {
  const have = store.labels?.of === one.id ? store.labels : null, named = (list) => list.map((other) => other.name).join();
  const settled = ['labelled', 'accepted'].includes(one.state) && (!have || named(have.classes) === named(store.ws.classes));
  if (one.state === 'failed' || (have && (settled ? have.version >= one.version : have.revision === store.ws.revision))) return;
  const { revision } = store.ws, mine = epoch, stays = () => store.picture === one.id;
  try {
    const fresh = await call('GET', ofPicture('/labels'));
    const png = stays() && await (await request('GET', ofPicture(`/map.png?version=${fresh.version}`))).blob();
    const map = stays() && await decode(png, fresh);
    if (!stays()) return;
    Object.assign(store, { labels: { ...fresh, version: mine === epoch ? fresh.version : -1, of: one.id, revision }, map });
    right('labels');
    emit('labels');
    tell();
  } catch (error) {
    if (!stays() || error.status === 404) return;
    if (tries > 1) { await pause(0.1); await labels(one, tries - 1); } // they may change between the two answers
    else wrong(error.message, 'labels');
  }
}

async function photograph(one) {
  const image = new Image();
  image.src = `api/${here(`/pictures/${one.id}/image`)}`;
  store.photo = { id: one.id, image, width: one.width, height: one.height, ready: false };
  Object.assign(store, { labels: null, map: null });
  emit('photo');
  try {
    await image.decode();
  } catch { wrong(`${one.name} cannot be shown`, 'photo'); return; }
  if (store.photo.image !== image) return;
  store.photo.ready = true;
  right('photo');
  emit('photo');
}

function tell() {
  const there = store.labels.classes.filter((one) => one.share).sort((a, b) => b.share - a.share);
  say(there.slice(0, 6).map((one) => `${one.name} ${percent(one.share)}${one.caveat ? `, ${one.caveat}` : ''}`).join('; '));
}

export async function download(kind, all, acceptedOnly) {
  await task('Exporting', async (signal, progress) => {
    const of = all ? { accepted_only: acceptedOnly } : { picture: store.picture };
    const { job } = await call('POST', here('/exports'), { kind, ...of }, signal);
    const path = here(`/exports/${job}`), began = performance.now();
    signal.addEventListener('abort', () => { request('DELETE', path).catch(() => {}); });
    for (;;) {
      const answer = await request('GET', path, undefined, signal);
      if (answer.status === 200) { save(await answer.blob(), answer.headers.get('Content-Disposition')); return; }
      const { done, of: whole } = await answer.json();
      progress(done, whole, done ? (performance.now() - began) / 1000 / done * (whole - done) : undefined);
      await pause(0.2, signal);
    }
  });
}

function save(blob, disposition) {
  const plain = /filename="?([^";]+)"?/.exec(disposition ?? ''), starred = /filename\*=utf-8''([^;]+)/i.exec(disposition ?? '');
  const link = document.createElement('a');
  link.download = starred ? decodeURIComponent(starred[1]) : plain?.[1] ?? 'freeda';
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`${link.download} is saved`);
}
