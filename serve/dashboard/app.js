// The dashboard: loads a market and interval, then follows the stream. Events are hints; what is shown is read from the API.

import { get, onTokenNeeded, stream } from "./api.js";
import { EquityChart, marker, PriceChart } from "./charts.js";
import * as format from "./format.js";
import * as tables from "./tables.js";

const SHOWN = ["1m", "37m", "148m", "1d"];
const $ = (id) => document.getElementById(id);
const state = { market: null, interval: "1m", health: null, bars: [], forming: null, local: false, lines: [], generation: 0 };
let price, equity;

// At most one run at a time and one waiting, at least `pause` apart: any number of events costs a bounded number of calls.
function calm(pause, work) {
  let timer = null, running = false, again = false;
  const run = async () => {
    timer = null;
    running = true;
    try { await work(); } catch (error) { report(error); }
    running = false;
    if (again) { again = false; timer = setTimeout(run, pause); }
  };
  return () => {
    if (running) again = true;
    else timer ??= setTimeout(run, pause);
  };
}

function report(error) {
  if (error instanceof Stale) return;
  $("banner").hidden = false;
  $("banner").textContent = `⚠ Not up to date: ${error.message}. Trying again.`;
}

// Thrown away: an answer for a market or interval that is no longer shown.
class Stale extends Error {}

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
  if (features.items.length) price.features(features.items, true);
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
  const book = state.health?.books?.[0]?.book;
  const [held, traded, decided, worth] = await current(Promise.all([
    get("/positions"), get("/trades", { limit: 60 }), get("/decisions", { limit: 60, acting: $("holds").checked ? null : true }),
    book ? get("/equity", { book, limit: 1500, step_minutes: state.equityStep ?? 1 }) : { items: [] },
  ]));
  tables.positions($("positions"), held.items);
  tables.trades($("trades"), traded.items);
  tables.decisions($("decisions"), decided.items);
  const closed = traded.items.filter((item) => item.closed);
  const won = closed.filter((item) => Number(item.pnl) > 0).length;
  $("trades-sum").textContent = closed.length ? `last ${closed.length}: ${won} won, ${closed.length - won} lost` : "";
  $("equity-empty").hidden = worth.items.length > 0;
  if (worth.items.length) {
    equity.reset(worth.items);
    // A long run is drawn coarser, so that the whole of it stays on the line.
    if (worth.next_cursor && (state.equityStep ?? 1) < 1440) { state.equityStep = Math.min(1440, (state.equityStep ?? 1) * 8); refreshAccount(); }
    const start = Number(state.health.books[0].capital), now = Number(worth.items.at(-1).equity);
    equity.baseline(start);
    $("equity-now").replaceChildren(`${format.price(now)} ${state.health.books[0].currency} `,
      tables.node("span", { className: format.tone(now - start), textContent: `${format.signed((now / start - 1) * 100)} %` }));
    $("book").textContent = `book ${book}`;
  }
}

async function loadDay() {
  const [day, technical] = await current(Promise.all([get("/stats", { market: state.market }), get("/ta", { market: state.market })]));
  tables.stats($("stats"), day);
  tables.signals($("ta"), technical.intervals.find((item) => item.interval === state.interval));
  $("ta-interval").textContent = state.interval;
  state.change = day.change_percent;
  showPrice();
}

async function loadHealth() {
  const health = await get("/health", { quiet: 1 });
  const up = $("banner");
  state.health = { ...state.health, ...health };
  const badge = $("health");
  badge.dataset.state = health.status;
  const holes = health.markets.reduce((sum, market) => sum + market.unresolved_holes, 0);
  badge.textContent = `${{ ok: "✓ healthy", degraded: "! degraded", down: "✕ down" }[health.status]}${holes ? ` · ${holes} hole${holes > 1 ? "s" : ""}` : ""}`;
  tables.health($("health-detail"), health);
  const silent = health.markets.filter((market) => market.feed === "down").map((market) => market.market);
  up.hidden = !silent.length && health.database === "ok";
  up.textContent = health.database !== "ok" ? "⚠ The database cannot be reached. Numbers below may be old."
    : silent.length ? `⚠ Feed down: ${silent.join(", ")}. Reconnecting; missed candles are fetched afterwards.` : "";
  if (health.database === "ok") {
    const mode = health.origin === "simulator" ? "SIMULATOR" : (health.books[0]?.mode ?? "paper").toUpperCase();
    $("mode").textContent = mode === "SIMULATOR" ? "SIMULATOR · PAPER" : mode;
    $("mode").dataset.mode = mode.toLowerCase();
  }
}

const refreshChart = calm(250, followChart), refreshMarks = calm(600, loadMarks), refreshAccount = calm(900, loadAccount);
const refreshDay = calm(1500, loadDay), refreshHealth = calm(700, loadHealth);

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

function legend(bar) {
  const shown = bar ?? state.forming ?? state.bars.at(-1);
  const parts = shown ? [["O", shown.open], ["H", shown.high], ["L", shown.low], ["C", shown.close]].map(([name, value]) =>
    tables.node("span", { className: name === "C" ? (shown.close >= shown.open ? "up" : "down") : "", textContent: `${name} ${format.price(value)}` })) : [];
  for (const [name, line] of price.lines)
    parts.push(tables.node("span", {}, tables.node("i", { className: `line-${line.number}` }), `${name} ${format.price(line.value)}`));
  $("legend").replaceChildren(...parts);
}

async function show() {
  state.generation += 1;
  state.bars = [];
  state.forming = null;
  for (const button of $("intervals").children) button.setAttribute("aria-pressed", String(button.textContent === state.interval));
  localStorage.setItem("manta-view", JSON.stringify({ market: state.market, interval: state.interval }));
  $("csv").href = `/api/v1/export/csv?${new URLSearchParams(here())}`;
  try {
    await loadChart();
    await Promise.all([loadMarks(), loadDay(), loadAccount()]);
  } catch (error) { report(error); if (!(error instanceof Stale)) refreshChart(); }
}

function onEvent(event) {
  const market = event.payload?.market ?? event.stream;
  const mine = market === state.market;
  if (event.kind === "forming") { if (mine) moveForming(event.payload); return; }
  if (event.kind === "candle") { if (mine) { refreshChart(); refreshDay(); } refreshAccount(); return; }
  if (["decision", "order", "fill", "signal"].includes(event.kind)) { if (event.kind !== "signal") { refreshMarks(); refreshAccount(); } refreshDay(); return; }
  refreshHealth();
}

function controls() {
  $("health").onclick = () => {
    const detail = $("health-detail");
    detail.hidden = !detail.hidden;
    $("health").setAttribute("aria-expanded", String(!detail.hidden));
  };
  $("zone").onclick = () => {
    state.local = !state.local;
    format.useLocalTime(state.local);
    $("zone").textContent = state.local ? "local" : "UTC";
    equity.redraw();
    show().then(loadHealth).catch(report);
  };
  $("holds").onchange = refreshAccount;
  $("market").onchange = (change) => { state.market = change.target.value; show(); };
  onTokenNeeded(() => new Promise((resolve) => {
    $("login-form").onsubmit = () => { const given = $("token").value; $("token").value = ""; resolve(given); };
    if (!$("login").open) $("login").showModal();
  }));
}

async function start() {
  controls();
  for (;;) {
    try { await loadHealth(); if (state.health.markets.length) break; } catch (error) { report(error); }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  const markets = state.health.markets.map((market) => market.market);
  const before = JSON.parse(localStorage.getItem("manta-view") ?? "{}");
  state.market = markets.includes(before.market) ? before.market : markets[0];
  $("market").replaceChildren(...markets.map((key) => tables.node("option", { value: key, textContent: key.replace(":", " "), selected: key === state.market })));
  const offered = SHOWN.filter((name) => state.health.intervals.includes(name));
  const intervals = [...offered, ...state.health.intervals.filter((name) => !SHOWN.includes(name))];
  state.interval = intervals.includes(before.interval) ? before.interval : intervals.find((name) => name !== "1m") ?? "1m";
  $("intervals").replaceChildren(...intervals.map((name) =>
    tables.node("button", { type: "button", textContent: name, onclick: () => { state.interval = name; show(); } })));
  price = new PriceChart($("chart"), legend);
  equity = new EquityChart($("equity"));
  await show();
  stream({
    onEvent,
    onState: (how) => {
      $("live").dataset.state = how;
      $("live").lastElementChild.textContent = how === "on" ? "live" : "reconnecting";
      if (how === "on") refreshHealth();
    },
    onReset: () => { refreshChart(); refreshMarks(); refreshAccount(); refreshDay(); },
  });
  // Silence is news too: ages grow while nothing is said.
  setInterval(refreshHealth, 10_000);
}

start();
