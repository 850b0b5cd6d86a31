// Small pieces of the page. Texts are set as text, never as HTML: words and names come from people and files.
export const $ = (id) => document.getElementById(id);

export function make(kind, set = {}, ...inside) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(set)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name.includes('-') || name === 'role' || name === 'for') made.setAttribute(name, value);
    else if (value !== undefined) made[name] = value;
  }
  made.append(...inside.filter((part) => part !== null && part !== undefined));
  return made;
}

export function icon(name) {
  const space = 'http://www.w3.org/2000/svg';
  const use = document.createElementNS(space, 'use');
  use.setAttribute('href', `static/icons.svg#${name}`);
  const svg = document.createElementNS(space, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

export const iconButton = (name, label, onclick, set = {}) => make('button',
  { type: 'button', className: 'button icon small', 'aria-label': label, onclick, ...set }, icon(name));

export const percent = (share) => (share >= 0.0005 ? (100 * share).toFixed(1) + ' %' : share ? '< 0.1 %' : '0 %');

export function ink(colour) { // black or white, whichever reads better: at least 4.5 to 1 (WCAG 2)
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000000' : '#ffffff';
}

export const plural = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;

export function time(seconds) {
  const s = Math.max(1, Math.round(seconds));
  return s < 90 ? `${s} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}
