// One market's chart, back to its first candle, with the holes of its data and the price gaps of its market.

import { get } from "./api.js";
import { bar, candleSeries, look, volumeBar } from "./charts.js";
import * as format from "./format.js";
import { $, calm, chooseMarket, follow, frame, here, ready, report, Stale } from "./frame.js";
import { Past, placeOf } from "./history.js";
import { GapZones, HoleBands } from "./overlays.js";
import { holeWords, node, table } from "./tables.js";

const NEAR = 80, HOLES = 2000, GAPS = 1000, LISTED = 100;
const state = { markets: [], market: null, interval: "1h", chosen: null, past: null, holes: [], gaps: [], points: [], turn: 0 };
const bands = new HoleBands(), zones = new GapZones();
let chart, candles, volume, moving = false;

const info = () => state.markets.find((item) => item.market === state.market);
const scale = () => chart.timeScale();

// Everything that is shown for a market and interval, at its newest candle or with `around` in the middle.
async function show(around = null) {
  const turn = ++state.turn;
  moving = true;
  const past = new Past({ market: state.market, interval: state.interval });
  for (const button of $("intervals").children) button.setAttribute("aria-pressed", String(button.textContent === state.interval));
  remember();
  try {
    await past.begin(around);
    if (turn !== state.turn) return;
    Object.assign(state, { past, holes: [], gaps: [] });
    draw();
    place(around);
    legend(null);
    moving = false;
    await marks();
    if (turn === state.turn) describe();
  } catch (error) { report(error); } finally { if (turn === state.turn) moving = false; }
}

function draw() {
  const { points, voids } = state.past.points();
  state.points = points;
  state.voids = voids;
  candles.setData(points.map((point) => (point.close == null ? { time: point.open_time / 1000 } : bar(point))));
  volume.setData(points.map((point) => (point.close == null ? { time: point.open_time / 1000 } : volumeBar(point))));
  const empty = $("chart-empty");
  empty.hidden = points.length > 0;
  empty.textContent = `No ${state.interval} candle of ${state.market} is stored yet.`;
  paint();
}

// A void among the candles is a hole; the holes that are known say why.
function paint() {
  const shown = $("show-holes").checked ? state.voids.map((hollow) => {
    const known = state.holes.filter((hole) => hole.from < hollow.to && hole.to > hollow.from);
    const explained = known.length > 0 && known.every((hole) => hole.explained);
    const minutes = (hollow.to - hollow.from) / 60_000;
    return { ...hollow, explained, label: `${format.minutes(minutes)} ${known[0]?.reason ?? "missing"}` };
  }) : [];
  const wanted = state.chosen;
  bands.set(shown, wanted && shown.find((band) => band.from < wanted.to && band.to > wanted.from));
  zones.set($("show-gaps").checked ? state.gaps : [], state.points);
  $("chart").dataset.holes = String(shown.length);
  $("chart").dataset.gaps = String($("show-gaps").checked ? state.gaps.length : 0);
}

function place(around) {
  const wide = Math.min(state.points.length, window.innerWidth < 600 ? 70 : 180);
  const middle = around == null ? null : placeOf(state.points, around);
  const to = middle == null ? state.points.length + 4 : middle + wide / 2;
  scale().setVisibleLogicalRange({ from: to - wide, to });
}

async function marks() {
  const turn = state.turn, { bars } = state.past;
  if (!bars.length) return;
  const span = { market: state.market, from: bars[0].open_time, to: bars.at(-1).close_time };
  const width = (bars[0].close_time - bars[0].open_time) / 60_000;
  const [holes, gaps] = await Promise.all([
    get("/holes", { ...span, limit: HOLES, least_minutes: Math.ceil(width / 2) }),
    get("/gaps", { market: state.market, interval: state.interval, to: span.to, limit: GAPS }),
  ]);
  if (turn !== state.turn) throw new Stale();
  state.holes = holes.items;
  // What was filled before the first candle here is not to be seen here.
  state.gaps = gaps.items.filter((gap) => gap.closed_time_ms == null || gap.closed_time_ms >= span.from);
  $("holes-sum").textContent = state.holes.length ? `${state.holes.length}${holes.next_cursor ? "+" : ""}` : "none here";
  const open = state.gaps.filter((gap) => gap.status !== "filled").length;
  $("gaps-sum").textContent = state.gaps.length ? `${state.gaps.length}, ${open} unfilled` : "none here";
  paint();
  list();
}

const refreshMarks = calm(300, marks);

// Load what the view comes near to; what is on the screen stays where it is.
async function reach(range) {
  if (moving || !range || !state.past) return;
  const past = state.past, turn = state.turn;
  const wantsOlder = range.from < NEAR && !past.atStart, wantsNewer = range.to > state.points.length - NEAR && !past.atEnd;
  if (!wantsOlder && !wantsNewer) return;
  moving = true;
  $("loading").hidden = false;
  $("loading").textContent = wantsOlder ? "older candles …" : "newer candles …";
  try {
    const before = scale().getVisibleLogicalRange(), count = state.points.length;
    await (wantsOlder ? past.older() : past.newer());
    if (turn !== state.turn) return;
    const now = scale().getVisibleLogicalRange() ?? before;
    draw();
    const added = wantsOlder ? state.points.length - count : 0;
    scale().setVisibleLogicalRange({ from: now.from + added, to: now.to + added });
    describe();
    refreshMarks();
    setTimeout(() => reach(scale().getVisibleLogicalRange()));
  } catch (error) { report(error); } finally {
    if (turn === state.turn) moving = false;
    $("loading").hidden = true;
  }
}

// What has closed since: only where the newest is shown.
const refreshNewest = calm(400, async () => {
  const past = state.past;
  if (!past?.atEnd || moving) return;
  const before = scale().getVisibleLogicalRange(), follows = before && before.to >= state.points.length - 1;
  const added = await past.newer();
  if (past !== state.past || !added) return;
  draw();
  legend(null);
  describe();
  if (before) scale().setVisibleLogicalRange(follows ? { from: before.from + added, to: before.to + added } : before);
});

function describe() {
  const { bars, atStart } = state.past;
  const series = info()?.series.find((item) => item.interval === state.interval);
  $("chart").dataset.first = String(bars[0]?.open_time ?? "");
  $("reach").textContent = !bars.length || !series ? "" :
    `${bars.length.toLocaleString("en-US")} candles loaded, from ${format.date(bars[0].open_time)}${atStart ? ", the first there is" : ""} · stored: ${format.date(series.first_open)} – ${format.date(series.last_close)}`;
  const badge = $("freshness"), stale = info()?.stale;
  badge.hidden = !info();
  badge.dataset.state = stale == null ? "import" : stale ? "stale" : "fresh";
  badge.textContent = stale == null ? "history only" : stale ? "✕ stale" : "✓ fresh";
  badge.title = stale ? info().freshness_reason : "";
}

// The price gaps whose zone lies under the pointer, in words.
function zoneWords(item, price) {
  if (price == null || !$("show-gaps").checked) return [];
  return state.gaps.filter((gap) => price >= gap.low && price <= gap.high && item.open_time >= gap.start_time_ms && (gap.closed_time_ms == null || item.open_time <= gap.closed_time_ms))
    .slice(0, 2).map((gap) => node("span", { className: "accent", textContent: `gap ${gap.id} ${gap.type} ${format.price(gap.low)} – ${format.price(gap.high)}, ${gap.status}` }));
}

function legend(shown, price = null) {
  const item = shown ?? state.past?.bars.at(-1);
  if (!item) { $("legend").replaceChildren(); return; }
  if (item.close == null) {
    const hole = state.holes.find((each) => each.from <= item.open_time && each.to > item.open_time);
    $("legend").replaceChildren(node("span", { textContent: `${format.time(item.open_time)} · ` }), node("span", { className: "warn", textContent: hole ? holeWords(hole) : "no candle here" }));
    return;
  }
  const parts = [["O", item.open], ["H", item.high], ["L", item.low], ["C", item.close]].map(([name, value]) =>
    node("span", { className: name === "C" ? (item.close >= item.open ? "up" : "down") : "", textContent: `${name} ${format.price(value)}` }));
  $("legend").replaceChildren(node("span", { textContent: format.date(item.open_time, true) }), ...parts,
    node("span", { textContent: `V ${format.compact(item.volume)}` }),
    node("span", { textContent: `${item.source ?? ""}${item.revision ? ` · revision ${item.revision}` : ""}${item.complete === false ? " · incomplete" : ""}` }), ...zoneWords(item, price));
}

// The holes of what is on the screen, newest first.
function list() {
  const range = scale().getVisibleLogicalRange();
  if (!range || !state.points.length) return;
  const at = (number) => state.points[Math.min(state.points.length - 1, Math.max(0, Math.round(number)))];
  const from = at(range.from).open_time, to = at(range.to).close_time ?? at(range.to).open_time;
  const inside = state.holes.filter((hole) => hole.from < to && hole.to > from);
  $("view-sum").textContent = inside.length ? `${inside.length} · ${format.minutes(inside.reduce((sum, hole) => sum + hole.minutes, 0))} in all` : "";
  table($("view-holes"), "Holes in view", ["from", "to", "length", "why", "in chart"], inside.slice(0, LISTED).map((hole) => [
    format.date(hole.from, true), format.date(hole.to, true), format.minutes(hole.minutes),
    node("td", { className: "left" }, node("span", { className: `tag ${hole.explained ? "accent" : "down"}`, textContent: hole.reason }), ` ${hole.detail}`),
    node("td", {}, node("button", { type: "button", className: "small", textContent: "show", onclick: () => choose(hole) })),
  ]), "Every minute in view is there.");
}

const refreshList = calm(250, async () => list());

function choose(hole) {
  state.chosen = hole;
  remember();
  const at = placeOf(state.points, hole.from);
  if (at >= 0) place(hole.from);
  paint();
}

function remember() {
  const query = { market: state.market, interval: state.interval, ...(state.chosen ? { from: state.chosen.from, to: state.chosen.to } : {}) };
  history.replaceState(null, "", `?${new URLSearchParams(query)}`);
  $("csv").href = `/api/v1/export/csv?${new URLSearchParams({ market: state.market, interval: state.interval })}`;
  $("data-link").href = `/dashboard/data?${new URLSearchParams({ market: state.market })}`;
  document.title = `${state.market.split(":")[1]} ${state.interval} · Manta`;
}

// The time in the middle of the screen, so that another interval shows the same moment; null at the newest.
function middle() {
  const range = scale().getVisibleLogicalRange();
  if (!range || !state.points.length || (state.past.atEnd && range.to >= state.points.length - 1)) return null;
  return state.points[Math.min(state.points.length - 1, Math.max(0, Math.round((range.from + range.to) / 2)))].open_time;
}

function offer() {
  const names = info()?.series.map((item) => item.interval) ?? [];
  if (!names.includes(state.interval)) state.interval = names.includes("1h") ? "1h" : names.includes("37m") ? "37m" : names[0] ?? "1m";
  $("intervals").replaceChildren(...names.map((name) => node("button", { type: "button", textContent: name,
    onclick: () => { const at = state.chosen?.from ?? middle(); state.interval = name; show(at); } })));
}

function controls() {
  $("show-holes").onchange = $("show-gaps").onchange = paint;
  $("newest").onclick = () => { state.chosen = null; show(); };
  $("jump").onsubmit = (event) => {
    event.preventDefault();
    state.chosen = null;
    const given = $("when").value;
    show(format.isLocal() ? new Date(given).getTime() : Date.parse(`${given}Z`));
  };
}

async function start() {
  frame("market", { hasMarket: true, onZone: () => { chart.applyOptions({ localization: look().localization }); show(middle()); } });
  controls();
  await ready();
  const asked = new URLSearchParams(location.search);
  const all = await get("/markets", { limit: 500 });
  state.markets = all.items.filter((item) => item.live || item.series.length);
  const keys = state.markets.map((item) => item.market);
  state.market = keys.includes(asked.get("market")) ? asked.get("market") : here.health.markets[0].market;
  state.interval = asked.get("interval") ?? "1h";
  if (asked.get("from")) state.chosen = { from: Number(asked.get("from")), to: Number(asked.get("to") ?? asked.get("from")) };
  chooseMarket(keys, state.market, (market) => { Object.assign(state, { market, chosen: null }); offer(); show(); });
  chart = window.LightweightCharts.createChart($("chart"), look());
  chart.timeScale().applyOptions({ minBarSpacing: 0.4, shiftVisibleRangeOnNewBar: false });
  [candles, volume] = candleSeries(chart);
  candles.attachPrimitive(zones);
  candles.attachPrimitive(bands);
  chart.subscribeCrosshairMove((move) => (move.time == null ? legend(null)
    : legend(state.points[placeOf(state.points, move.time * 1000)], candles.coordinateToPrice(move.point.y))));
  scale().subscribeVisibleLogicalRangeChange((range) => { reach(range); refreshList(); });
  offer();
  await show(state.chosen?.from ?? null);
  follow({
    onEvent: (event) => {
      if (event.kind === "candle" && event.stream === state.market) refreshNewest();
      if (event.kind === "stale" || event.kind === "fresh") refreshInfo();
    },
    onReset: refreshNewest,
  });
}

const refreshInfo = calm(700, async () => {
  state.markets = (await get("/markets", { limit: 500 })).items;
  describe();
});

start().catch(report);
