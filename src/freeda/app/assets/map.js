// The map of regions and labels that belongs to a picture: read from its PNG, outlined, and where its words stand.

// {width, height, region (Int32Array, -1: none), label (Uint8Array, 0: none)}; refuses values that are not exact.
export async function decode(png, labels) {
  const bitmap = await createImageBitmap(png, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const region = new Int32Array(width * height), label = new Uint8Array(width * height);
  for (let i = 0, j = 0; i < label.length; i++, j += 4) {
    region[i] = data[j] + 256 * data[j + 1] - 1;
    label[i] = data[j + 2];
  }
  const regions = new Set(labels.regions.map((one) => one.region)), numbers = new Set(labels.classes.map((one) => one.number));
  const strange = (values, known, none) => [...new Set(values)].some((value) => value !== none && !known.has(value));
  if (width !== labels.width || height !== labels.height || strange(region, regions, -1) || strange(label, numbers, 0)) {
    throw new Error('this browser changes the colours of pictures, so the labels cannot be read: allow it to read canvases');
  }
  return { width, height, region, label };
}

// Outlines by value: a Map of Path2D in pixels of the map, holes included, corners cut by half a pixel; along the
// picture's border they lie outside, where nothing is drawn.
// `only` (a predicate) says whose outlines are wanted.
export function outlines(values, width, height, only = () => true) {
  const paths = new Map(), seen = new Uint8Array(values.length);
  const across = [1, 0, -1, 0], down = [0, 1, 0, -1]; // right, down, left, up; the inside lies to the right hand
  const inside = (x, y, value) => x >= 0 && y >= 0 && x < width && y < height && values[y * width + x] === value;
  const corner = (path, first, x, y) => (first ? path.moveTo(x, y) : path.lineTo(x, y));
  const off = (at, long) => (at <= 0.5 ? -4 : at >= long - 0.5 ? long + 4 : at);
  for (let start = 0; start < values.length; start++) {
    const value = values[start];
    if (seen[start] || (start >= width && values[start - width] === value) || !only(value)) continue;
    let path = paths.get(value);
    if (!path) paths.set(value, path = new Path2D());
    let x = start % width, y = (start - x) / width, turn = 0, first = true;
    const x0 = x, y0 = y;
    do {
      if (turn === 0) seen[y * width + x] = 1;
      x += across[turn];
      y += down[turn];
      const before = (turn + 3) % 4, after = (turn + 1) % 4; // the two pixels ahead, to the left hand and to the right
      const ax = x + (across[turn] - 1) / 2, ay = y + (down[turn] - 1) / 2;
      const right = inside(ax + across[after] / 2, ay + down[after] / 2, value);
      const next = !right ? after : inside(ax + across[before] / 2, ay + down[before] / 2, value) ? before : turn;
      if (next !== turn) {
        corner(path, first, off(x - across[turn] / 2, width), off(y - down[turn] / 2, height));
        corner(path, false, off(x + across[next] / 2, width), off(y + down[next] / 2, height));
        first = false;
        turn = next;
      }
    } while (x !== x0 || y !== y0 || turn !== 0);
    path.closePath();
  }
  return paths;
}

// Where words stand in a part of the map ([left, top, right, bottom], shares of it): [{label, x, y, room, area, first}],
// one a connected piece, the largest first, at its pixel farthest from its border. x and y are shares of the map, room
// (the distance to the border) of its longer side, area of the part; `first` for the largest piece of a label.
export function places({ width, height, label }, [left, top, right, bottom] = [0, 0, 1, 1], least = 0.004) {
  const [across, down] = [(right - left) * width, (bottom - top) * height], shrink = Math.max(1, Math.max(across, down) / 200);
  const w = Math.max(1, Math.floor(across / shrink)), h = Math.max(1, Math.floor(down / shrink));
  const small = new Uint8Array(w * h), far = new Float32Array(w * h);
  for (let y = 0, i = 0; y < h; y++) {
    const row = Math.floor(top * height + (y + 0.5) * down / h) * width;
    for (let x = 0; x < w; x++, i++) small[i] = label[row + Math.floor(left * width + (x + 0.5) * across / w)];
  }
  const sweep = (from, to, by) => { // chamfer distances, forwards and then backwards
    for (let i = from; i !== to; i += by) {
      const x = i % w, edge = x === 0 || x === w - 1 || i < w || i >= w * (h - 1);
      if (edge) { far[i] = 1; continue; }
      for (const [d, cost] of [[by, 1], [by * w, 1], [by * (w + 1), 1.41], [by * (w - 1), 1.41]]) {
        far[i] = Math.min(far[i], small[i - d] === small[i] ? far[i - d] + cost : 1);
      }
    }
  };
  far.fill(1e9);
  sweep(0, w * h, 1);
  sweep(w * h - 1, -1, -1);
  const seen = new Uint8Array(w * h), found = [], best = new Map();
  for (let start = 0; start < w * h; start++) {
    if (seen[start] || !small[start]) continue;
    const stack = [start];
    let area = 0, at = start;
    seen[start] = 1;
    while (stack.length) {
      const i = stack.pop(), x = i % w;
      area++;
      if (far[i] > far[at]) at = i;
      for (const j of [x ? i - 1 : -1, x < w - 1 ? i + 1 : -1, i - w, i + w]) {
        if (j >= 0 && j < w * h && !seen[j] && small[j] === small[i]) { seen[j] = 1; stack.push(j); }
      }
    }
    const one = {
      label: small[at], area: area / (w * h),
      x: left + (at % w + 0.5) / w * (right - left), y: top + (Math.floor(at / w) + 0.5) / h * (bottom - top),
      room: far[at] * Math.max(across / w, down / h) / Math.max(width, height),
    };
    found.push(one);
    if (one.area > (best.get(one.label)?.area ?? 0)) best.set(one.label, one);
  }
  for (const one of found) one.first = best.get(one.label) === one;
  return found.filter((one) => one.first || one.area >= least).sort((a, b) => b.area - a.area);
}
