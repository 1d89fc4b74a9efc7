// Where on its grid a sweep is good, as pictures: a map over two parameters, and a line for each set through all of them.

import { node, table } from "./tables.js";

const WIDEST = 60, NAMED = 16, LINES = 300, SVG = "http://www.w3.org/2000/svg";

function drawn(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const valuesOf = (items, name) => [...new Set(items.map((item) => item.params[name]))].sort((a, b) => a - b);

// The best value at each place of two parameters, over all the others; of one parameter, a line of places.
export function map(place, items, { by, across, down, figure: [text, shown, more] }) {
  const two = down && down !== across, columns = across ? valuesOf(items, across) : [], rows = two ? valuesOf(items, down) : [null];
  if (!across || !items.length || columns.length > WIDEST || rows.length > WIDEST) {
    place.replaceChildren(...(columns.length > WIDEST || rows.length > WIDEST ? [node("p", { className: "empty", textContent: `More than ${WIDEST} values of a parameter: too many for a map.` })] : []));
    return;
  }
  const best = new Map();
  for (const { params, metrics } of items) {
    const key = `${params[across]} ${two ? params[down] : null}`, value = metrics[by];
    if (value != null && (!best.has(key) || (more ? value > best.get(key) : value < best.get(key)))) best.set(key, value);
  }
  const low = Math.min(...best.values()), high = Math.max(...best.values()), named = columns.length <= NAMED;
  const cell = (key) => {
    const value = best.get(key), share = value == null ? 0 : high > low ? (value - low) / (high - low) : 1;
    const said = value == null ? "" : shown(value);
    const made = node("td", { className: named ? "place" : "place small-place", textContent: named ? said : "", title: said });
    made.style.setProperty("--share", value == null ? "0%" : `${Math.round(8 + 52 * (more ? share : 1 - share))}%`);
    return made;
  };
  table(place, `${text} by ${across}${two ? ` and ${down}` : ""}`, [two ? `${down} ↓ ${across} →` : across, ...columns.map(String)],
    rows.map((line) => [node("th", { scope: "row", textContent: line == null ? text : String(line) }), ...columns.map((column) => cell(`${column} ${line}`))]), "");
}

// `items` come the best first: the best tenth stands out, the best one most.
export function parallel(place, items, { by, names, figure: [text, shown] }) {
  const told = items.filter((item) => item.metrics[by] != null), step = Math.ceil(told.length / LINES) || 1;
  if (told.length < 2 || !names.length) { place.replaceChildren(); return; }
  const [width, height, side, top, bottom] = [1000, 300, 60, 34, 26];
  const axes = [...names, text], at = (item, number) => (number < names.length ? item.params[names[number]] : item.metrics[by]);
  const spans = axes.map((_, number) => { const all = told.map((item) => at(item, number)); return [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))]; });
  const x = (number) => side + ((width - 2 * side) * number) / (axes.length - 1);
  const y = (item, number) => { const [low, high] = spans[number]; return height - bottom - (high > low ? (at(item, number) - low) / (high - low) : 0.5) * (height - top - bottom); };
  const lines = told.map((item, rank) => [item, rank]).filter(([, rank]) => rank % step === 0).reverse().map(([item, rank]) => drawn("polyline", {
    class: rank === 0 ? "chosen" : rank < told.length / 10 ? "good" : "pale", points: axes.map((_, number) => `${x(number).toFixed(1)},${y(item, number).toFixed(1)}`).join(" ") }));
  const label = (number, value) => (number < names.length ? String(value) : shown(value));
  const marks = axes.flatMap((name, number) => [
    drawn("line", { class: "axis", x1: x(number), x2: x(number), y1: top, y2: height - bottom }),
    ...[[name, 12], [label(number, spans[number][1]), top - 7], [label(number, spans[number][0]), height - 8]].map(([words, line]) =>
      drawn("text", { x: x(number), y: line, "text-anchor": "middle" }, words))]);
  place.replaceChildren(drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${text}: a line for each set of ${names.join(", ")}`, class: "parallel" }, ...lines, ...marks));
}
