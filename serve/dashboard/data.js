// The data itself: how fresh and complete each market is, by month and day, and what holes there are and why.

import { get } from "./api.js";
import { days, monthName, percent, strip, words, years } from "./calendar.js";
import * as format from "./format.js";
import { $, calm, follow, frame, ready, report, Stale } from "./frame.js";
import { node, table } from "./tables.js";

const HOLES = 300, NOTED = 100;
const state = { markets: [], market: null, months: new Map(), month: null, day: null, turn: 0 };

async function current(promise) {
  const turn = state.turn, answer = await promise;
  if (turn !== state.turn) throw new Stale();
  return answer;
}

async function loadMarkets() {
  state.markets = (await get("/markets", { limit: 500 })).items;
  const live = state.markets.filter((item) => item.live), stale = live.filter((item) => item.stale).length;
  $("markets-sum").textContent = `${live.length} live${stale ? `, ${stale} stale` : ""}, ${state.markets.length - live.length} with history only`;
  $("markets").replaceChildren(...state.markets.map(card));
}

function card(item) {
  const base = item.series.find((series) => series.interval === "1m") ?? item.series[0], day = item.last_day;
  const badge = item.stale == null ? ["import", "history only"] : item.stale ? ["stale", "✕ stale"] : base ? ["fresh", "✓ fresh"] : ["import", "no candle yet"];
  const months = state.months.get(item.market);
  const sources = day ? Object.entries(day.sources).sort(([, a], [, b]) => b - a).map(([name, count]) => `${count.toLocaleString("en-US")} ${name}`).join(", ") : "";
  return node("li", {}, node("button", { type: "button", className: "card", ariaPressed: String(item.market === state.market), data: { market: item.market }, onclick: () => choose(item.market) },
    node("span", { className: "name" }, node("b", { textContent: item.symbol }), node("small", { textContent: `${item.venue} · ${item.kind}` })),
    node("span", { className: "badge fresh", title: item.freshness_reason ?? "", textContent: badge[1], data: { state: badge[0] } }),
    node("span", { className: "since num" }, node("span", { textContent: base ? `${format.date(base.first_open)} – ${format.date(base.last_close)}` : "no candle yet" }),
      node("small", { textContent: item.series.map((series) => series.interval).join(" ") })),
    node("span", { className: "last num" },
      node("span", { className: day?.missing ? "warn" : "", textContent: day ? `${percent(day)} % of ${item.live ? "the last 24 h" : "its last day"}` : "" }),
      node("small", { textContent: [day?.missing ? `${day.missing} missing` : "", day?.absent ? `${day.absent} absent` : "", sources].filter(Boolean).join(" · ") })),
    months?.length ? strip(months) : node("span", { className: "strip" })),
    item.stale ? node("p", { className: "warn note", textContent: `Stale since ${format.date(item.freshness_since, true)}: ${item.freshness_reason}. Its targets are not acted on.` }) : null,
    ...item.disagreements.map((each) => node("p", { className: "warn note", textContent: `Since ${format.time(each.since)}: ${each.text}` })));
}

// One market after the other: each is a read of all its minutes.
async function loadStrips() {
  for (const { market, series } of state.markets) {
    if (!series.some((item) => item.interval === "1m")) continue;
    await monthsOf(market);
    $("markets").replaceChildren(...state.markets.map(card));
  }
}

async function monthsOf(market) {
  if (!state.months.has(market)) state.months.set(market, (await get("/quality/summary", { market })).items);
  return state.months.get(market);
}

async function choose(market, month = null) {
  Object.assign(state, { market, month: null, day: null, turn: state.turn + 1 });
  for (const button of document.querySelectorAll(".card")) button.ariaPressed = String(button.dataset.market === market);
  $("chosen-market").textContent = market.replace(":", " ");
  try {
    const items = await current(monthsOf(market));
    if (!items.length) { blank(`${market} has no 1m candle yet.`); return; }
    const total = items.reduce((sum, item) => ({ expected: sum.expected + item.expected, present: sum.present + item.present, absent: sum.absent + item.absent, missing: sum.missing + item.missing }));
    $("chosen-sum").textContent = words(total);
    $("years").replaceChildren(years(items, (item) => show(item)));
    await Promise.all([show(items.find((item) => item.period === month) ?? worst(items)), noted()]);
  } catch (error) { report(error); }
}

function blank(text) {
  $("chosen-sum").textContent = $("month-name").textContent = $("month-sum").textContent = $("holes-sum").textContent = $("noted-sum").textContent = "";
  $("years").replaceChildren(node("p", { className: "empty", textContent: text }));
  for (const id of ["month", "holes", "noted"]) $(id).replaceChildren();
}

// What a person would look at first: the newest month that lacks something, else the newest.
const worst = (items) => [...items].reverse().find((item) => item.missing) ?? items.at(-1);

async function show(month) {
  Object.assign(state, { month, day: null, turn: state.turn + 1 });
  for (const button of $("years").querySelectorAll("button")) button.ariaPressed = String(button.dataset.period === month.period);
  history.replaceState(null, "", `?${new URLSearchParams({ market: state.market, month: month.period })}`);
  $("month-name").textContent = monthName(month.period);
  $("month-sum").textContent = words(month);
  try {
    const { items } = await current(get("/quality/summary", { market: state.market, by: "day", from: month.from, to: month.to }));
    $("month").replaceChildren(days(items, (day) => pick(day)));
    await holes();
  } catch (error) { report(error); }
}

function pick(day) {
  state.day = state.day?.period === day.period ? null : day;
  for (const button of $("month").querySelectorAll("button")) button.ariaPressed = String(button.dataset.period === state.day?.period);
  holes().catch(report);
}

async function holes() {
  const span = state.day ?? state.month;
  if (!span) return;
  const asked = { market: state.market, from: span.from, to: span.to, limit: HOLES, explained: $("unexplained").checked ? false : null, least_minutes: $("length").value || null };
  const found = await current(get("/holes", asked));
  const minutes = found.items.reduce((sum, hole) => sum + Math.min(hole.to, span.to) / 60_000 - Math.max(hole.from, span.from) / 60_000, 0);
  const where = state.day ? format.date(Date.parse(state.day.period)) : monthName(state.month.period);
  $("holes-sum").textContent = `${where}: ${found.items.length}${found.next_cursor ? "+" : ""}${found.items.length ? ` · ${format.minutes(minutes)} in ${found.next_cursor ? "those shown" : "all"}` : ""}`;
  table($("holes"), "Holes", ["from", "length", "why", "in chart"], found.items.map((hole) => [
    node("td", {}, format.date(hole.from, true), node("div", { className: "soft", textContent: `to ${format.date(hole.to, true)}` })),
    format.minutes(hole.minutes),
    node("td", { className: "left wide" }, node("span", { className: `tag ${hole.explained ? "accent" : "down"}`, textContent: hole.reason }), ` ${hole.detail}`),
    node("td", {}, node("a", { className: "button small", textContent: "show", ariaLabel: `show the hole of ${format.date(hole.from, true)} in the chart`,
      href: `/dashboard/market?${new URLSearchParams({ market: hole.market, interval: hole.interval, from: hole.from, to: hole.to })}` })),
  ]), $("unexplained").checked ? "Every hole here is explained." : $("length").value ? "No hole here is that long."
    : span.missing ? `No hole is recorded, yet ${span.missing.toLocaleString("en-US")} minutes are not here: nothing came after the newest candle.` : "No minute is lacking here.");
}

async function noted() {
  const asked = { market: state.market, limit: NOTED };
  const [odd, changed] = await current(Promise.all([get("/quality", { ...asked, not_kind: "hole" }), get("/revisions", asked)]));
  const rows = [
    ...odd.items.map((item) => ({ at: item.from, what: item.reason, open: !item.resolved, why: item.detail.text ?? JSON.stringify(item.detail) })),
    ...changed.items.map((item) => ({ at: item.open_time, what: `${item.interval} revision ${item.revision}`, why: `${item.why}: ${changes(item.old, item.new)}` })),
  ].sort((a, b) => b.at - a.at);
  $("noted-sum").textContent = rows.length ? `${rows.length}${odd.next_cursor || changed.next_cursor ? "+" : ""}` : "";
  table($("noted"), "What was refused, changed or compared", ["minute", "what", "why"], rows.map((row) => [
    row.at ? format.date(row.at, true) : "–",
    node("td", { className: "left" }, node("span", { className: `tag ${row.open ? "warn" : ""}`, textContent: row.what })),
    node("td", { className: "left wide soft", textContent: row.why }),
  ]), "Nothing was refused, and no closed candle was changed.");
}

// Only what became another value.
function changes(old, now) {
  const names = Object.keys(now).filter((name) => name !== "revision" && old[name] !== now[name]);
  return names.slice(0, 4).map((name) => `${name} ${old[name] ?? "–"} → ${now[name] ?? "–"}`).join(", ");
}

const refreshMarkets = calm(1500, loadMarkets), refreshHoles = calm(1500, holes);

async function start() {
  frame("data", { onZone: () => { loadMarkets().then(() => show(state.month)).catch(report); } });
  $("unexplained").onchange = $("length").onchange = () => holes().catch(report);
  await ready();
  await loadMarkets();
  const asked = new URLSearchParams(location.search);
  const wanted = state.markets.find((item) => item.market === asked.get("market")) ?? state.markets[0];
  if (wanted) await choose(wanted.market, asked.get("month"));
  else blank("No market is known yet. The first appears when its feed has started.");
  follow({ onEvent: (event) => { if (["stale", "fresh"].includes(event.kind)) refreshMarkets(); if (event.kind === "hole") { state.months.clear(); refreshMarkets(); refreshHoles(); } }, onReset: refreshMarkets });
  setInterval(refreshMarkets, 30_000);
  await loadStrips();
}

start().catch(report);
