// What runs, with its position and its last decision; and what there is to choose from, with its parameters and its text.

import { get } from "./api.js";
import { refusal } from "./dialogs.js";
import { explain } from "./explain.js";
import * as format from "./format.js";
import { $, calm, follow, frame, loadHealth, report } from "./frame.js";
import { keepFocus } from "./runs.js";
import { actionWords, node, outcomeTag, stack, table } from "./tables.js";

const FEW = 4;
let ran = "";

async function loadRunning() {
  const { items } = await get("/instances", { limit: 500 });
  const sleeves = items.reduce((sum, item) => sum + item.sleeves.length, 0);
  $("running-sum").textContent = items.length ? `${items.length} instance${items.length > 1 ? "s" : ""}, ${sleeves} market${sleeves > 1 ? "s" : ""} × interval` : "";
  const found = JSON.stringify(items.map(({ sleeves: _, ...rest }) => rest));
  if (found !== ran) {
    ran = found;
    $("running").replaceChildren(...(items.length ? items.map(instance) : [node("p", { className: "empty" },
      "No strategy runs. Name one under ", node("code", { textContent: "strategies:" }), " in ", node("code", { textContent: "manta.yaml" }), ", then ", node("code", { textContent: "./run reload" }), ".")]));
  }
  keepFocus($("running"), () => items.forEach((item) => fill($(`sleeves-${item.instance_id}`), item)));
}

const instance = (item) => node("section", { className: "instance", ariaLabel: `Instance ${item.name}` },
  node("h3", {}, item.name, node("span", { className: "tag soft", textContent: item.strategy }), node("span", { className: "tag soft", textContent: item.book === item.mode ? item.book : `${item.book} · ${item.mode}` }),
    node("small", { textContent: [item.profile, format.params(item.params)].filter(Boolean).join(" · ") })), node("div", { id: `sleeves-${item.instance_id}` }));

function fill(place, item) {
  stack(place, `What ${item.name} holds and decided last`, ["market", "position", "equity", "last decision", "outcome", "why"], item.sleeves.map((sleeve) => [
    node("td", {}, node("span", {}, node("b", { textContent: sleeve.market.replace(":", " ") }), ` ${sleeve.interval}`)),
    position(sleeve), format.price(sleeve.equity),
    node("td", {}, sleeve.decision ? node("span", { textContent: actionWords(sleeve.decision.actions) }, node("small", { textContent: format.time(sleeve.decision.close_time) })) : "none yet"),
    node("td", { className: "left" }, sleeve.decision ? outcomeTag(sleeve.decision) : "–"),
    node("td", { className: "left" }, sleeve.decision ? node("button", { type: "button", className: "small", textContent: "Explain", ariaLabel: `Explain the last decision of ${item.name} on ${sleeve.market} ${sleeve.interval}`,
      data: { key: `${item.instance_id} ${sleeve.market} ${sleeve.interval}`, decision: sleeve.decision.decision_id }, onclick: () => explain(sleeve.decision.decision_id).catch(report) }) : "–"),
  ]), "It has no market.");
}

function position(sleeve) {
  const quantity = Number(sleeve.quantity);
  if (!quantity) return node("td", { className: "soft", textContent: sleeve.quantity == null ? "not begun" : "flat" });
  const open = (Number(sleeve.mark) - Number(sleeve.entry_price)) * quantity;
  return node("td", {}, node("span", {}, node("span", { className: quantity > 0 ? "up" : "down", textContent: `${quantity > 0 ? "▲ long" : "▼ short"} ${format.amount(Math.abs(quantity))}` }),
    node("small", {}, `at ${format.price(sleeve.entry_price)} `, node("span", { className: format.tone(open), textContent: sleeve.mark == null ? "" : format.signed(open) }))));
}

let shelved = "";

async function loadShelf() {
  const { items, broken } = await get("/strategies");
  // Built anew only when there is something new: what is open stays open.
  const found = JSON.stringify([items, broken]);
  if (found === shelved) return;
  shelved = found;
  const own = items.filter((item) => item.kind === "your own").length;
  $("shelf-sum").textContent = `${items.length - own} built in, ${own} of your own`;
  $("shelf").replaceChildren(...items.map(card));
  $("broken-panel").hidden = !broken.length;
  $("broken-sum").textContent = `${broken.length}`;
  $("broken").replaceChildren(...broken.map((item) => node("li", {},
    node("b", { textContent: `${item.name}.py` }), " ", item.line == null ? "" : node("span", { className: "tag down", textContent: `line ${item.line}` }),
    node("div", { textContent: item.error }), node("div", { className: "soft", textContent: item.fix }))));
}

function onCandles(feature) {
  if (feature.interval) return ` on ${feature.interval}`;
  return feature.multiple > 1 ? ` on candles ${feature.multiple} times as long` : "";
}

function card(item) {
  const values = node("div", { className: "scroll-x" }), count = Object.keys(item.params).length, code = node("div", {});
  table(values, `Parameters of ${item.name}`, ["parameter", "default", "allowed"], Object.entries(item.params).map(([name, value]) => [name,
    typeof value.default === "number" ? format.amount(value.default, 8) : String(value.default), value.allowed]), "It has no parameters.");
  const uses = Object.entries(item.features).map(([name, feature]) => `${name}: ${[feature.kind, format.params(feature.params)].filter(Boolean).join(" ")}${onCandles(feature)}`);
  const text = node("details", { ontoggle: () => { if (text.open && !code.childElementCount) loadText(item.name, code).catch((error) => code.replaceChildren(node("p", { className: "refused", textContent: refusal(error) }))); } },
    node("summary", { textContent: "Its text" }), code);
  return node("li", { data: { strategy: item.name } },
    node("h3", {}, item.name, node("span", { className: `tag ${item.kind === "your own" ? "accent" : "soft"}`, textContent: item.kind }),
      node("a", { className: "button small", href: `/dashboard/backtests?${new URLSearchParams({ strategy: item.name })}`, textContent: "Backtest", ariaLabel: `Backtest ${item.name}` })),
    node("p", {}, ...prose(item.summary || "It says nothing of itself.")),
    count > FEW ? node("details", {}, node("summary", { textContent: `Parameters: ${count}` }), values) : values,
    node("p", { className: "soft", textContent: `Asked after ${item.warmup} closed candle${item.warmup === 1 ? "" : "s"}. It has ${item.has.join(", ")}.` }),
    uses.length ? node("details", {}, node("summary", { textContent: `What it looks at: ${uses.length}` }), node("ul", { className: "words" }, ...uses.map((line) => node("li", { textContent: line })))) : null, text);
}

// Names stand within two backticks in the texts of strategies.
const prose = (text) => text.split("``").map((part, number) => (number % 2 ? node("code", { textContent: part }) : part));

async function loadText(name, place) {
  const { code } = await get(`/strategies/${encodeURIComponent(name)}`);
  place.replaceChildren(node("pre", { tabIndex: 0, ariaLabel: `Text of ${name}` }, node("code", { textContent: code })));
}

const refresh = calm(1500, loadRunning);

async function start() {
  frame("strategies", { onZone: refresh });
  loadHealth().catch(report);
  follow({ onEvent: (event) => { if (["candle", "decision", "fill"].includes(event.kind)) refresh(); }, onReset: refresh });
  // Own files are edited while the page is looked at.
  window.addEventListener("focus", () => loadShelf().catch(report));
  setInterval(refresh, 30_000);
  await Promise.all([loadRunning(), loadShelf()]);
}

start().catch(report);
