// Lists beside the chart, as real tables built node by node: no text from the server is ever read as HTML.

import * as format from "./format.js";

export function node(tag, options = {}, ...children) {
  const { data, ...rest } = options;
  const element = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(data ?? {})) element.dataset[name] = value;
  element.append(...children.filter((child) => child != null));
  return element;
}

const TEXT = new Set(["side", "decision", "outcome", "why", "what", "cause", "strategy", "allowed"]);

export function table(place, caption, heads, rows, empty) {
  if (!rows.length) {
    place.replaceChildren(node("p", { className: "empty", textContent: empty }));
    return;
  }
  const head = node("tr", {}, ...heads.map((text) => node("th", { scope: "col", textContent: text, className: TEXT.has(text) ? "left" : "" })));
  const body = rows.map((cells) => node("tr", {}, ...cells.map((cell) => (cell instanceof Node ? cell : node("td", { textContent: cell })))));
  const scrolled = place.scrollTop;
  place.replaceChildren(node("table", {}, node("caption", { className: "sr", textContent: caption }), node("thead", {}, head), node("tbody", {}, ...body)));
  place.scrollTop = scrolled;
  reachable(place, caption);
}

// What scrolls can be scrolled with the keyboard, and says what it is.
function reachable(place, caption) {
  const scrolls = place.scrollHeight > place.clientHeight || place.scrollWidth > place.clientWidth;
  if (scrolls === place.hasAttribute("tabindex") || place === document.activeElement) return;
  for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", caption]])
    if (scrolls) place.setAttribute(name, value);
    else place.removeAttribute(name);
}

// The same, each cell with the name of its column: on a narrow screen a row becomes a card. Roles, as such styling takes them away.
// A cell that says the same stays as it is, so that no redraw comes between a press and its click.
export function stack(place, caption, heads, rows, empty) {
  const fresh = node("div", {});
  table(fresh, caption, heads, rows, empty);
  const made = fresh.querySelector("table"), old = place.querySelector("table");
  if (made) label(made, heads);
  if (!made || !old) {
    place.replaceChildren(...fresh.childNodes);
    reachable(place, caption);
    return;
  }
  const before = [...old.tBodies[0].rows];
  [...made.tBodies[0].rows].forEach((row, number) => {
    if (before[number]) [...row.cells].forEach((cell, column) => { const had = before[number].cells[column]; if (!had.isEqualNode(cell)) had.replaceWith(cell); });
    else old.tBodies[0].append(row);
  });
  for (const row of before.slice(rows.length)) row.remove();
  reachable(place, caption);
}

function label(made, heads) {
  made.className = "stack";
  made.setAttribute("role", "table");
  for (const part of made.querySelectorAll("thead, tbody")) part.setAttribute("role", "rowgroup");
  for (const row of made.rows) row.setAttribute("role", "row");
  for (const head of made.tHead.rows[0].cells) head.setAttribute("role", "columnheader");
  for (const row of made.tBodies[0].rows)
    [...row.cells].forEach((cell, number) => { cell.setAttribute("role", "cell"); cell.dataset.label = heads[number]; });
}

export const holeWords = (hole) => `${format.minutes(hole.minutes)} ${hole.reason}${hole.detail ? `: ${hole.detail}` : ""}`;

const coloured = (text, tone, className = "") => node("td", { textContent: text, className: `${tone} ${className}` });
const side = (direction) => coloured(direction === "LONG" ? "▲ long" : "▼ short", direction === "LONG" ? "up" : "down", "left");
const sleeve = (item) => `${format.instance(item.instance_id)} ${item.interval}`;

export function positions(place, items) {
  const held = items.filter((item) => Number(item.quantity) !== 0);
  const flat = items.filter((item) => Number(item.quantity) === 0 && item.state === "active").length;
  const rows = held.map((item) => {
    const open = (Number(item.mark) - Number(item.entry_price)) * Number(item.quantity);
    return [
      node("td", {}, node("b", { textContent: item.market.split(":")[1] }), node("div", { className: "soft", textContent: sleeve(item) }),
        ...(item.state === "active" ? [] : [node("span", { className: "tag", textContent: item.state === "kept" ? "kept, no instance" : "closing, no instance" })])),
      side(Number(item.quantity) > 0 ? "LONG" : "SHORT"),
      format.amount(item.quantity),
      node("td", {}, format.price(item.entry_price), node("div", { className: format.tone(open), textContent: item.mark == null ? "" : format.signed(open) })),
    ];
  });
  table(place, "Open positions", ["market", "side", "size", "entry / open P&L"], rows,
    flat ? `Flat: ${flat} part${flat > 1 ? "s" : ""} of the book wait for a signal.` : "No position yet.");
}

export function trades(place, items) {
  const rows = items.map((item) => [
    format.time(item.entry_time), side(item.direction),
    item.closed ? coloured(format.signed(item.pnl), format.tone(item.pnl)) : node("td", {}, node("span", { className: "tag", textContent: "open" })),
    node("td", {}, format.price(item.entry_price), node("div", { className: "soft", textContent: item.closed ? `→ ${format.price(item.exit_price)}` : "" })),
    node("td", {}, item.market.split(":")[1], node("div", { className: "soft", textContent: sleeve(item) })),
  ]);
  table(place, "Recent trades", ["opened", "side", "P&L", "entry → exit", "market"], rows, "No trade yet. Fills show here as they happen.");
}

export const actionWords = (actions) => (actions.length ? actions.map((action) => WORDS[action]).join(", then ") : "hold");
export const outcomeTag = (item) => node("span", { className: `tag ${TONES[item.outcome] ?? "soft"}`, textContent: item.outcome, title: item.reason });

const WORDS = { OPEN_LONG: "open long", CLOSE_LONG: "close long", OPEN_SHORT: "open short", CLOSE_SHORT: "close short", HOLD: "hold" };
const TONES = { acted: "up", late: "warn", stale: "warn", risk: "warn", hole: "warn", warming: "warming" };

export function decisions(place, items) {
  const rows = items.map((item) => [
    format.time(item.close_time),
    node("td", { className: "left", textContent: actionWords(item.actions) }),
    node("td", { className: "left" }, outcomeTag(item)),
    format.price(item.price), `${Math.round(item.confidence * 100)} %`,
    node("td", {}, item.market.split(":")[1], node("div", { className: "soft", textContent: sleeve(item) })),
    node("td", { className: "left soft wide", textContent: item.reason || "–" }),
  ]);
  table(place, "Recent decisions", ["closed", "decision", "outcome", "price", "confidence", "market", "why"], rows,
    "No decision yet. Strategies decide when a candle of their interval closes.");
}

export function signals(place, state) {
  const rows = (state?.features ?? []).map((item, number) => [
    node("td", {}, node("i", { className: `swatch line-${number % 4}` }), item.name),
    item.value == null ? node("td", { className: "warming", textContent: `warming ${item.warming}` }) : format.price(item.value),
    item.posture ? coloured(`${item.posture === "ABOVE" ? "▲ above" : item.posture === "BELOW" ? "▼ below" : "= at"} ${format.signed(item.distance_percent)} %`,
      item.posture === "ABOVE" ? "up" : item.posture === "BELOW" ? "down" : "soft") : "–",
  ]);
  for (const item of state?.strategies ?? []) {
    const waits = item.status !== "ready";
    rows.push([
      node("td", {}, node("b", { textContent: item.name })),
      waits ? node("td", { className: "warming", textContent: item.warming ? `warming ${item.warming}` : "waits: hole in the data" })
        : coloured({ LONG: "▲ long", SHORT: "▼ short", FLAT: "flat", HOLD: "hold" }[item.target], { LONG: "up", SHORT: "down" }[item.target] ?? "soft"),
      waits ? "–" : `${Math.round(item.confidence * 100)} % sure`,
    ]);
  }
  table(place, "Moving averages and strategies", ["name", "value", "price is"], rows, "No moving average or strategy is configured on this interval.");
}

export function stats(place, day) {
  const decided = Object.entries(day.decisions).filter(([name]) => name !== "HOLD").reduce((sum, [, number]) => sum + number, 0);
  const missing = day.holes.filter((hole) => !hole.resolved && hole.reason !== "absent").length;
  const rows = [
    ["24 h high", format.price(day.high)], ["24 h low", format.price(day.low)], ["24 h volume", format.compact(day.volume)],
    ["candles", `${day.candles.toLocaleString("en-US")} of ${day.expected_candles.toLocaleString("en-US")}`],
    ["decisions", `${decided} + ${day.decisions.HOLD} hold`], ["fills", String(day.fills)],
    ["holes", missing ? `⚠ ${missing}` : day.holes.length ? `${day.holes.length} explained` : "none"],
  ];
  place.replaceChildren(...rows.map(([name, value]) => node("div", {}, node("dt", { textContent: name }),
    node("dd", { textContent: value, className: name === "holes" && missing ? "warn" : "" }))));
}

export function health(place, state) {
  const lines = state.reasons.length ? state.reasons : ["Every market is recorded, healed and up to date."];
  const markets = state.markets.map((market) => `${market.market}: ${market.stale ? `stale since ${format.time(market.stale_since)}` : format.staleness(market) ? "stale" : "fresh"}, feed ${market.feed}, last 1m close ${format.time(market.last_close, true)}, ` +
    `${market.unresolved_holes} unresolved holes${market.warming.map((item) => `, ${item.name} ${item.interval} warming ${item.warming}`).join("")}`);
  place.replaceChildren(node("h2", { textContent: "Health", }), node("ul", {}, ...[...lines, ...markets].map((text) => node("li", { textContent: text }))),
    node("p", { className: "soft", textContent: `Ages are measured by the ${state.clock === "simulated" ? "replay's own" : "venue's"} clock.` }));
}
