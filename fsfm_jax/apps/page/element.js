// Elements of the page. Texts are set as text, never as HTML.
export const at = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

export function made(name, fields = {}, ...children) {
  const element = Object.assign(document.createElement(name), fields);
  element.append(...children);
  return element;
}

export function drawn(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A name of a file may hold anything: what is not printable, such as a mark that turns the direction of writing, is
// written out.
export const plain = (text) =>
  text.replace(/\p{C}/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

export const decimal = (value, digits = 2) => value.toFixed(digits);

export function size(bytes) {
  if (bytes < 1e3) return `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export const moment = (date) =>
  date === null ? "not known" : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
