// Sweeps: start one, watch it, see where its grid is good and how much of the best is luck, stop it, delete it.

import { get, post } from "./api.js";
import { about, blame, choices, filled, number, paramInputs, paramTexts } from "./form.js";
import * as format from "./format.js";
import { $, calm, follow, frame, loadHealth, report } from "./frame.js";
import { deleteButton, figure, keepFocus, marketsOf, spanCell, spanOf, stateCell, strategiesOf, titleOf, unfinished } from "./runs.js";
import { node, stack, table } from "./tables.js";

const SOON = 1000, LATER = 15_000, SHOWN = 50, MOST = 5000, BEST = 20, WIDEST = 60;
const percent = (value) => format.percent(value, false);
// Every figure of a set: its name, how it is shown, and whether more of it is better.
const FIGURES = {
  sharpe: ["Sharpe", format.ratio, true], total_return: ["total return", format.percent, true], sortino: ["Sortino", format.ratio, true],
  max_drawdown: ["max drawdown", percent, false], profit_factor: ["profit factor", format.ratio, true], win_rate: ["win rate", percent, true],
  final_equity: ["final equity", (value) => format.amount(value, 2), true], fees: ["fees", (value) => format.amount(value, 2), false], exposure: ["exposure", percent, false],
};
const state = { runs: [], strategies: [], shown: null, items: [], timer: null };

async function loadRuns() {
  state.runs = (await get("/sweeps", { limit: SHOWN })).items;
  $("runs-sum").textContent = state.runs.length ? `${state.runs.length}` : "";
  keepFocus($("runs"), () => stack($("runs"), "Sweeps, the newest first",
    ["best", "of", "strategy", "market", "range", "tried", "engine", "state", "actions"], state.runs.map(row),
    "No sweep yet. Start one above: give some parameters several values."));
}

function row(run) {
  const objective = run.config.objective, [name, shown] = FIGURES[objective] ?? [objective, format.ratio], best = run.results?.best;
  const count = run.combos == null ? "" : ` of ${format.amount(run.combos)}`;
  return [
    node("td", {}, best ? node("span", {}, shown(best.metrics[objective]), node("small", { textContent: format.params(best.params) })) : "–"), name,
    node("td", { className: "left", textContent: strategiesOf(run) }), node("td", {}, node("span", {}, marketsOf(run), node("small", { textContent: run.intervals.join(", ") }))), spanCell(run),
    `${format.amount(run.tried)}${count}`, run.engine || "–", stateCell(run),
    node("td", {}, node("div", { className: "actions" },
      run.tried ? node("button", { type: "button", className: "small", textContent: "Details", ariaLabel: `Details of ${titleOf(run)}`, data: { key: `sweep ${run.run_id}` }, onclick: () => open(run).catch(report) }) : null,
      unfinished(run) ? node("button", { type: "button", className: "small", textContent: "Stop", ariaLabel: `Stop ${titleOf(run)}`, data: { key: `stop ${run.run_id}` }, onclick: () => stop(run) }) : null,
      deleteButton("/sweeps", "sweep", run, gone))),
  ];
}

async function stop(run) {
  try {
    await post(`/sweeps/${run.run_id}/stop`);
    $("said").textContent = `The sweep of ${titleOf(run)} is stopped; its scores are kept.`;
  } catch (error) { report(error); }
  watch();
}

function gone(run) {
  if (state.shown?.run_id === run.run_id) close();
  $("said").textContent = `The sweep of ${titleOf(run)} is deleted.`;
  $("runs-title").focus();
  watch();
}

function close() {
  state.shown = null;
  $("sweep-panel").hidden = true;
}

const options = (place, names, chosen) => place.replaceChildren(...names.map(([value, text]) => node("option", { value, textContent: text, selected: value === chosen })));

async function open(run) {
  state.shown = run;
  const axes = Object.entries(run.config.grid).filter(([, values]) => values.length > 1).map(([name]) => [name, name]);
  options($("by"), Object.entries(FIGURES).map(([name, [text]]) => [name, text]), run.config.objective);
  options($("across"), axes, axes[0]?.[0]);
  options($("down"), axes, axes[1]?.[0]);
  $("across-label").hidden = $("down-label").hidden = axes.length < 3;
  $("sweep-title").textContent = `${titleOf(run)}, ${spanOf(run)}`;
  await refresh();
  $("sweep-panel").hidden = false;
  $("sweep-title").focus();
}

// What the open sweep has found by now, by the chosen figure.
async function refresh() {
  const { run_id: id } = state.shown;
  const [run, { items }] = await Promise.all([get(`/sweeps/${id}`), get(`/sweeps/${id}/results`, { by: $("by").value, limit: MOST })]);
  if (state.shown?.run_id !== id) return;
  Object.assign(state, { shown: run, items });
  const words = run.results?.words ?? [`${format.amount(run.tried)} sets tried so far. What the best owes to luck is said at the end.`];
  $("words").replaceChildren(node("ul", { className: "words" }, ...words.map((text) => node("li", { textContent: text }))));
  drawMap();
  drawScores();
}

function drawScores() {
  const names = Object.keys(state.shown.config.grid);
  stack($("scores"), "The best sets", [...names, ...Object.values(FIGURES).map(([text]) => text), "trades"], state.items.slice(0, BEST).map((item) => [
    ...names.map((name) => String(item.params[name])),
    ...Object.entries(FIGURES).map(([key, [, shown]]) => figure(item.metrics[key], shown)), format.amount(item.trades),
  ]), "No set fulfils the constraints.");
}

// The best value at each place of two parameters, over all the others; of one parameter, a line of places.
function drawMap() {
  const by = $("by").value, [text, shown, more] = FIGURES[by], [across, down] = [$("across").value, $("down").value].map((name) => name || null);
  const two = down && down !== across, columns = values(across), rows = two ? values(down) : [null];
  if (!across || !state.items.length || columns.length > WIDEST || rows.length > WIDEST) {
    $("map").replaceChildren(...(columns.length > WIDEST || rows.length > WIDEST ? [node("p", { className: "empty", textContent: `More than ${WIDEST} values of a parameter: too many for a map.` })] : []));
    return;
  }
  const best = new Map();
  for (const { params, metrics } of state.items) {
    const key = `${params[across]} ${two ? params[down] : null}`, value = metrics[by];
    if (value != null && (!best.has(key) || (more ? value > best.get(key) : value < best.get(key)))) best.set(key, value);
  }
  const low = Math.min(...best.values()), high = Math.max(...best.values());
  const cell = (key) => {
    const value = best.get(key), share = value == null ? 0 : high > low ? (value - low) / (high - low) : 1;
    const place = node("td", { className: "place", textContent: value == null ? "" : shown(value) });
    place.style.setProperty("--share", `${Math.round(8 + 42 * (more ? share : 1 - share))}%`);
    return place;
  };
  table($("map"), `${text} by ${across}${two ? ` and ${down}` : ""}`, [two ? `${down} ↓ ${across} →` : across, ...columns.map(String)],
    rows.map((line) => [node("th", { scope: "row", textContent: line == null ? text : String(line) }), ...columns.map((column) => cell(`${column} ${line}`))]), "");
}

const values = (name) => [...new Set(state.items.map((item) => item.params[name]))].sort((a, b) => a - b);

// "5:50:5" with both ends, or "5, 10, 20"; whatever is neither is sent as it is, for the API to refuse.
function axis(name, text) {
  const [first, last, step, ...rest] = text.split(":").map((part) => Number(part));
  if (!text.includes(":")) return text.split(/[\s,]+/).filter(Boolean).map(number);
  if (rest.length || ![first, last, step].every(Number.isFinite) || step <= 0 || last < first)
    throw Object.assign(new Error(`${name} cannot be read as FIRST:LAST:STEP.`), { field: name, fix: "Write 5:50:5, or 5, 10, 20." });
  const digits = Math.max(...text.split(":").map((part) => (part.split(".")[1] ?? "").trim().length));
  return Array.from({ length: Math.floor((last - first) / step + 1e-9) + 1 }, (_, place) => Number((first + place * step).toFixed(digits)));
}

function request() {
  const grid = Object.fromEntries(paramTexts().map(([name, text]) => [name, axis(name, text)])), trials = $("trials").value.trim();
  if (!Object.keys(grid).length)
    throw Object.assign(new Error("A sweep needs several values of a parameter."), { field: $("params").querySelector("input")?.name, fix: "Write 5:50:5, or 5, 10, 20." });
  return { ...about(), grid, ...filled({ objective: $("objective").value, min_trades: number($("min-trades").value), trials: number(trials), method: trials ? "random" : null }) };
}

async function send(event) {
  event.preventDefault();
  blame(null);
  $("go").disabled = true;
  try {
    const accepted = await post("/sweeps", request());
    $("said").textContent = "The sweep is queued.";
    await loadRuns();
    document.querySelector(`[data-key="delete ${accepted.run_id}"]`)?.scrollIntoView({ block: "nearest" });
    watch();
  } catch (error) { blame(error); }
  $("go").disabled = false;
}

const showParams = () => paramInputs(state.strategies.find((item) => item.name === $("strategy").value), "Grid: 5:50:5, or 5, 10, 20; empty: the strategy's own", "text");

// Quickly while something runs, slowly otherwise: others may start one.
async function look() {
  let busy = false;
  try {
    await loadRuns();
    busy = state.runs.some(unfinished);
    if (state.shown && unfinished(state.shown)) await refresh();
  } catch (error) { report(error); }
  clearTimeout(state.timer);
  state.timer = setTimeout(look, busy ? SOON : LATER);
}

const watch = calm(0, look);

async function start() {
  frame("sweeps", { onZone: watch });
  loadHealth().catch(report);
  follow({ onEvent: () => {}, onReset: watch });
  options($("objective"), Object.entries(FIGURES).map(([name, [text]]) => [name, text]), "sharpe");
  $("start").onsubmit = send;
  $("strategy").onchange = showParams;
  for (const id of ["across", "down"]) $(id).onchange = drawMap;
  $("by").onchange = () => refresh().catch(report);
  $("sweep-close").onclick = () => { close(); $("runs-title").focus(); };
  const chosen = choices().then((items) => { state.strategies = items; showParams(); });
  await Promise.all([chosen, look()]);
}

start().catch(report);
