// The dashboard: loads a market and interval, then follows the stream. Events are hints; what is shown is read from the API.

import { get } from "./api.js";
import { EquityChart, marker, PriceChart } from "./charts.js";
import * as format from "./format.js";
import { $, calm, chooseMarket, follow, frame, here as around, ready, refreshHealth, report, Stale } from "./frame.js";
import * as tables from "./tables.js";
import { Truth } from "./truth.js";

const SHOWN = ["1m", "37m", "148m", "1d"];
const POINTS = 2000, STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 240, 480];
const state = { market: null, interval: "1m", bars: [], forming: null, lines: [], generation: 0 };
let price, equity, truth;

async function current(promise) {
  const generation = state.generation;
  const answer = await promise;
  if (generation !== state.generation) throw new Stale();
  return answer;
}

const here = () => ({ market: state.market, interval: state.interval });

async function loadChart() {
  const [candles, features] = await current(Promise.all([
    get("/candles", { ...here(), limit: 1000, forming: 1 }), get("/features", { ...here(), limit: 4000 }),
  ]));
  state.bars = candles.items;
  price.reset(candles.items);
  // Values from before the first candle would move the candles out of sight.
  const values = features.items.filter((item) => item.open_time >= (candles.items[0]?.open_time ?? 0));
  if (values.length) price.features(values, true);
  setForming(candles.forming);
  $("chart-empty").hidden = candles.items.length > 0 || Boolean(candles.forming);
  showPrice();
  legend(null);
}

async function followChart() {
  const from = state.bars.at(-1)?.open_time;
  if (from == null) return loadChart();
  const [candles, features] = await current(Promise.all([
    get("/candles", { ...here(), from, limit: 1000, forming: 1 }), get("/features", { ...here(), from, limit: 4000 }),
  ]));
  // More than one page was missed: begin anew rather than leave a hole in the picture.
  if (candles.next_cursor) return loadChart();
  const known = new Map(state.bars.slice(-5).map((bar) => [bar.open_time, bar]));
  state.bars.push(...candles.items.filter((bar) => !known.has(bar.open_time)));
  if (state.bars.length > 5000) state.bars = state.bars.slice(-4000);
  price.update(candles.items);
  if (features.items.length) price.features(features.items, false);
  setForming(candles.forming);
  showPrice();
  legend(null);
}

function setForming(candle) {
  const newest = state.bars.at(-1)?.open_time ?? -1;
  state.forming = candle && candle.open_time > newest ? candle : null;
  if (state.forming) price.update([state.forming]);
}

// The forming minute moves the open candle of any interval; its closed minutes came with the last answer.
function moveForming(minute) {
  const newest = state.bars.at(-1);
  if (newest && minute.open_time < newest.close_time && state.interval === "1m") return;
  const open = state.forming;
  if (state.interval === "1m") setForming({ ...minute });
  else if (open && minute.open_time >= open.open_time && minute.open_time < open.close_time)
    setForming({ ...open, high: Math.max(open.high, minute.high), low: Math.min(open.low, minute.low), close: minute.close });
  showPrice(minute);
}

async function loadMarks() {
  const wanted = { market: state.market, interval: state.interval === "1m" ? null : state.interval };
  const [decided, traded] = await current(Promise.all([
    get("/decisions", { ...here(), acting: true, limit: 1000 }), get("/trades", { ...wanted, limit: 500 }),
  ]));
  const first = state.bars[0]?.open_time ?? Infinity;
  const opened = (ms) => { let found = null; let low = 0, high = state.bars.length - 1;
    while (low <= high) { const mid = (low + high) >> 1; if (state.bars[mid].open_time <= ms) { found = state.bars[mid].open_time; low = mid + 1; } else high = mid - 1; }
    return found; };
  const marks = [];
  for (const item of decided.items) {
    if (item.open_time >= first)
      marks.push(marker(["late", "stale", "risk"].includes(item.outcome) ? "held" : "decision", opened(item.open_time), item.outcome === "acted" ? "" : item.outcome));
  }
  for (const item of traded.items) {
    const long = item.direction === "LONG";
    const tag = state.interval === item.interval ? "" : ` ${item.interval}`;
    if (item.entry_time >= first) marks.push(marker(long ? "buy" : "sell", opened(item.entry_time), `${long ? "long" : "short"}${tag}`));
    if (item.exit_time && item.exit_time >= first) marks.push(marker(long ? "sell" : "buy", opened(item.exit_time), `${format.signed(item.pnl)}${tag}`));
  }
  marks.sort((a, b) => a.time - b.time);
  price.markers(marks);
  $("chart").dataset.markers = String(marks.length);
}

async function loadAccount() {
  const [held, traded, decided] = await current(Promise.all([
    get("/positions"), get("/trades", { limit: 60 }), get("/decisions", { limit: 60, acting: $("holds").checked ? null : true }),
  ]));
  tables.positions($("positions"), held.items);
  tables.trades($("trades"), traded.items);
  tables.decisions($("decisions"), decided.items);
  const closed = traded.items.filter((item) => item.closed);
  const won = closed.filter((item) => Number(item.pnl) > 0).length;
  $("trades-sum").textContent = closed.length ? `last ${closed.length}: ${won} won, ${closed.length - won} lost` : "";
}

// The whole of a book's life on one line: the longer it is, the coarser its steps. Its length is asked for by the day.
async function loadWorth() {
  const book = around.health?.books?.[0];
  if (!book) return;
  const asked = { book: book.book, limit: POINTS };
  const days = (await get("/equity", { ...asked, step_minutes: 1440 })).items.length;
  const step = STEPS.find((minutes) => (days + 1) * 1440 / minutes < POINTS) ?? 1440;
  const worth = await get("/equity", { ...asked, step_minutes: step });
  $("equity-empty").hidden = worth.items.length > 0;
  if (!worth.items.length) return;
  equity.reset(worth.items);
  const start = Number(book.capital), now = Number(worth.items.at(-1).equity);
  equity.baseline(start);
  $("equity-now").replaceChildren(`${format.price(now)} ${book.currency} `,
    tables.node("span", { className: format.tone(now - start), textContent: `${format.signed((now / start - 1) * 100)} %` }));
  $("book").textContent = `book ${book.book}`;
}

async function loadDay() {
  const [day, technical] = await current(Promise.all([get("/stats", { market: state.market }), get("/ta", { market: state.market })]));
  tables.stats($("stats"), day);
  tables.signals($("ta"), technical.intervals.find((item) => item.interval === state.interval));
  $("ta-interval").textContent = state.interval;
  state.change = day.change_percent;
  showPrice();
}

const refreshChart = calm(250, followChart), refreshMarks = calm(600, loadMarks), refreshAccount = calm(900, loadAccount), refreshWorth = calm(3000, loadWorth);
const refreshDay = calm(1500, loadDay), refreshTruth = calm(700, () => truth.load());

function showPrice(minute) {
  const value = minute?.close ?? state.forming?.close ?? state.bars.at(-1)?.close;
  $("price").textContent = format.price(value);
  const change = $("change");
  change.className = `num change ${format.tone(state.change)}`;
  change.textContent = state.change == null ? "" : `${state.change > 0 ? "▲" : state.change < 0 ? "▼" : ""} ${format.signed(state.change)} % · 24 h`;
  document.title = value == null ? "Manta" : `${format.price(value)} ${state.market.split(":")[1]} · Manta`;
  const badge = $("forming");
  badge.hidden = !state.forming;
  if (state.forming) badge.textContent = `forming · closes ${format.clock(state.forming.close_time)}`;
}

function showFreshness() {
  const market = around.health.markets.find((item) => item.market === state.market), badge = $("fresh");
  badge.hidden = !market;
  const why = market ? format.staleness(market) : "";
  badge.dataset.state = why ? "stale" : "fresh";
  badge.textContent = why ? "✕ stale" : "✓ fresh";
  badge.title = why ? `${why}: no target is acted on` : "";
}

function legend(bar) {
  const shown = bar ?? state.forming ?? state.bars.at(-1);
  const parts = shown ? [["O", shown.open], ["H", shown.high], ["L", shown.low], ["C", shown.close]].map(([name, value]) =>
    tables.node("span", { className: name === "C" ? (shown.close >= shown.open ? "up" : "down") : "", textContent: `${name} ${format.price(value)}` })) : [];
  for (const [name, line] of price.lines)
    parts.push(tables.node("span", {}, tables.node("i", { className: `line-${line.number}` }), `${name} ${format.price(line.value)}`));
  $("legend").replaceChildren(...parts);
}

async function show() {
  showFreshness();
  state.generation += 1;
  state.bars = [];
  state.forming = null;
  for (const button of $("intervals").children) button.setAttribute("aria-pressed", String(button.textContent === state.interval));
  localStorage.setItem("manta-view", JSON.stringify({ market: state.market, interval: state.interval }));
  $("csv").href = `/api/v1/export/csv?${new URLSearchParams(here())}`;
  $("history").href = `/dashboard/market?${new URLSearchParams(here())}`;
  try {
    await loadChart();
    await Promise.all([loadMarks(), loadDay(), loadAccount()]);
  } catch (error) { report(error); if (!(error instanceof Stale)) refreshChart(); }
}

function onEvent(event) {
  const market = event.payload?.market ?? event.stream;
  const mine = market === state.market;
  if (event.kind === "forming") { if (mine) moveForming(event.payload); return; }
  if (event.kind === "candle") { if (mine) { refreshChart(); refreshDay(); } refreshAccount(); refreshWorth(); return; }
  if (["decision", "order", "fill", "signal"].includes(event.kind)) { if (event.kind !== "signal") { refreshMarks(); refreshAccount(); } refreshDay(); return; }
  if (event.kind === "parity") { refreshTruth(); return; }
  refreshHealth();
}

async function start() {
  frame("trade", { hasMarket: true, onZone: () => { equity.redraw(); show().catch(report); refreshTruth(); } });
  $("holds").onchange = refreshAccount;
  around.onHealth = showFreshness;
  await ready();
  const markets = around.health.markets.map((market) => market.market);
  const before = JSON.parse(localStorage.getItem("manta-view") ?? "{}");
  state.market = markets.includes(before.market) ? before.market : markets[0];
  chooseMarket(markets, state.market, (market) => { state.market = market; show(); });
  const offered = SHOWN.filter((name) => around.health.intervals.includes(name));
  const intervals = [...offered, ...around.health.intervals.filter((name) => !SHOWN.includes(name))];
  state.interval = intervals.includes(before.interval) ? before.interval : intervals.find((name) => name !== "1m") ?? "1m";
  $("intervals").replaceChildren(...intervals.map((name) =>
    tables.node("button", { type: "button", textContent: name, onclick: () => { state.interval = name; show(); } })));
  price = new PriceChart($("chart"), legend);
  equity = new EquityChart($("equity"));
  truth = new Truth($("truth"), $("truth-day"), $("truth-state"));
  await show();
  refreshWorth();
  refreshTruth();
  follow({ onEvent, onReset: () => { refreshChart(); refreshMarks(); refreshAccount(); refreshWorth(); refreshDay(); refreshTruth(); } });
}

start();
