// Elements and numbers.  Text reaches the page as text nodes only: names come from anywhere.

const $ = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const bodyOf = (id) => document.querySelector(`#${id} .body`);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => Number((sum(values) / values.length).toFixed(12));
const isNumber = (value) => typeof value === "number";

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// As every other format rounds: to the nearest, and halves to even.
function fixed(value, places) {
  const exact = Math.abs(value).toFixed(places + 60);
  let text = Math.abs(value).toFixed(places);
  if (/^50*$/.test(exact.slice(-60)) && "13579".includes(text.at(-1))) text = exact.slice(0, -60).replace(/\.$/, "");
  return Number(text) === 0 || value >= 0 ? text : `-${text}`;
}

const NOTHING = "-";
const metricText = (value) => (isNumber(value) ? fixed(value, 3) : NOTHING);
const rankText = (value) => (isNumber(value) ? fixed(value, 2) : NOTHING);
const percent = (value) => `${fixed(value * 100, 0)} %`;

function points(value) {
  if (!isNumber(value)) return NOTHING;
  const text = fixed(value, 1);
  return value > 0 && text !== "0.0" ? `+${text}` : text;
}

function seconds(value) {
  if (!isNumber(value)) return NOTHING;
  const text = fixed(value, value < 10 ? 2 : value < 100 ? 1 : 0);
  return text.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
}

function count(value) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return fixed(value / size, 1).replace(/\.0$/, "") + unit;
  }
  return fixed(value, 0);
}

function span(low, high) {
  const [first, last] = [count(low), count(high)];
  return first === last ? first : `${first} to ${last}`;
}

const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const short = (hash) => (hash ? hash.slice(0, 8) : "unknown");
const pText = (p) => (!isNumber(p) ? "not tested" : p < 0.001 ? "p < .001" : `p = ${fixed(p, 3).replace(/^0/, "")}`);
const unique = (values) => [...new Set(values)];

function list(items, most = 6) {
  const shown = items.slice(0, most).join(", ");
  return items.length > most ? `${shown} and ${items.length - most} more` : shown;
}

// [0, 1, 2, 4] -> "0-2, 4"
function ranges(numbers) {
  const parts = [];
  for (const number of numbers) {
    const last = parts.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else parts.push([number, number]);
  }
  return list(parts.map(([first, last]) => (last > first + 1 ? `${first}-${last}` : unique([first, last]).join(", "))));
}

function announce(text) {
  $("live").textContent = text;
}
