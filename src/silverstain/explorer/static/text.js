/**
 * Text that somebody else wrote, made fit to be shown, and numbers as people read them.
 * @module
 */

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|[\ud800-\udfff]/gu;
const SHORT = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Text on one line, without characters that a page or a reader would act on; those are written as in a string. */
export function shown(text, most = 200) {
  const clear = String(text).replace(HIDDEN, (letter) => SHORT[letter] ?? `\\u${letter.codePointAt(0).toString(16).padStart(4, '0')}`);
  return clear.length > most ? `${clear.slice(0, most - 1)}…` : clear;
}

/** 37 %, <1 %, and "" where nothing is known. */
export function percent(share, digits = 0) {
  if (share === null || share === undefined || !Number.isFinite(share)) return '';
  if (share > 0 && share < 0.005 && !digits) return '<1 %';
  if (share > 0 && share < 0.0005) return '<0.1 %';
  return `${(100 * share).toFixed(digits)} %`;
}

/** +0.29 and −0.03, with a true minus. */
export const signed = (value, digits = 2) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;

/** A number to three digits. */
export const brief = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toString().replace('-', '−') : '');

const THOUSANDS = new Intl.NumberFormat('en'); // made once: it takes longer than all that it writes

/** 18,337 */
export const count = (n) => THOUSANDS.format(n);

/** "1 node", "2 nodes" */
export const several = (n, what) => `${count(n)} ${what}${n === 1 ? '' : 's'}`;

/** Text for XML or HTML, in content and in attributes. */
export const inXml = (text) =>
  String(text)
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
