// Sweeps: start one, watch it, see where its grid is good and how much of the best is luck, stop it, delete it.

import { get, post } from "./api.js";
import { about, blame, choices, filled, number, paramInputs, paramTexts } from "./form.js";
import * as format from "./format.js";
import { $, calm, follow, frame, loadHealth, report } from "./frame.js";
import { deleteButton, figure, keepFocus, marketsOf, paceCell, spanCell, spanOf, stateCell, strategiesOf, titleOf, unfinished } from "./runs.js";
import { map, parallel } from "./search_pictures.js";
import { node, stack, table } from "./tables.js";

const SOON = 1000, LATER = 15_000, SHOWN = 50, MOST = 5000, BEST = 20, MOST_VALUES = 2000, HOW = "Write 5:50:5, or 5, 10, 20.";
const percent = (value) => format.percent(value, false);
// Every figure of a set: its name, how it is shown, and whether more of it is better.
const FIGURES = {
  sharpe: ["Sharpe", format.ratio, true], total_return: ["total return", format.percent, true], sortino: ["Sortino", format.ratio, true],
  max_drawdown: ["max drawdown", percent, false], profit_factor: ["profit factor", format.ratio, true], win_rate: ["win rate", percent, true],
  final_equity: ["final equity", (value) => format.amount(value, 2), true], fees: ["fees", (value) => format.amount(value, 2), false], exposure: ["exposure", percent, false],
};
// `told`: what the stream said last of each sweep that runs; `chosen`: those to be compared.
const state = { runs: [], strategies: [], shown: null, items: [], timer: null, told: new Map(), chosen: new Set(), live: false };

const figureOf = (name) => FIGURES[name] ?? [name, format.ratio, true];
const axesOf = (run) => Object.entries(run.config.grid).filter(([, values]) => values.length > 1).map(([name]) => name);

async function loadRuns() {
  state.runs = (await get("/sweeps", { limit: SHOWN })).items;
  for (const id of state.chosen) if (!state.runs.some((run) => run.run_id === id)) state.chosen.delete(id);
  drawRuns();
}

function drawRuns() {
  $("runs-sum").textContent = state.runs.length ? `${state.runs.length}` : "";
  drawCompared();
  keepFocus($("runs"), () => stack($("runs"), "Sweeps, the newest first",
    ["", "best", "of", "strategy", "market", "range", "tried", "engine", "state", "actions"], state.runs.map(row),
    "No sweep yet. Start one above: give some parameters several values."));
}

function row(read) {
  // What the stream told is newer than what was read.
  const news = unfinished(read) ? state.told.get(read.run_id) : null;
  const run = news ? { ...read, tried: news.tried, refused: news.refused, combos: news.sets, progress: news.progress } : read;
  const objective = run.config.objective, [name, shown] = figureOf(objective), best = run.results?.best;
  const leads = best ? [shown(best.metrics[objective]), format.params(best.searched ?? best.params)] : news?.best ? [shown(news.value), `${format.params(news.best)}, so far`] : null;
  const count = run.combos == null ? "" : ` of ${format.amount(run.combos)}`, refused = run.refused ? `, ${format.amount(run.refused)} refused` : "";
  return [
    node("td", {}, run.status === "done" ? chooser(run) : null),
    node("td", {}, leads ? node("span", {}, leads[0], node("small", { textContent: leads[1] })) : "–"), name,
    node("td", { className: "left", textContent: strategiesOf(run) }), node("td", {}, node("span", {}, marketsOf(run), node("small", { textContent: run.intervals.join(", ") }))), spanCell(run),
    `${format.amount(run.tried)}${count}${refused}`, run.engine || "–", news ? paceCell(run, news, run.config.halving ? "runs" : "sets") : stateCell(run),
    node("td", {}, node("div", { className: "actions" },
      run.tried ? node("button", { type: "button", className: "small", textContent: "Details", ariaLabel: `Details of ${titleOf(run)}`, data: { key: `sweep ${run.run_id}` }, onclick: () => open(run).catch(report) }) : null,
      run.status === "done" ? node("a", { className: "button", href: `/dashboard/report?sweep=${run.run_id}`, textContent: "Report", ariaLabel: `Report of ${titleOf(run)}`, data: { key: `report ${run.run_id}` } }) : null,
      unfinished(run) ? node("button", { type: "button", className: "small", textContent: "Stop", ariaLabel: `Stop ${titleOf(run)}`, data: { key: `stop ${run.run_id}` }, onclick: () => stop(run) }) : null,
      deleteButton("/sweeps", "sweep", run, gone))),
  ];
}

const chooser = (run) => node("input", { type: "checkbox", className: "check", checked: state.chosen.has(run.run_id), ariaLabel: `Compare ${titleOf(run)}`, data: { key: `compare ${run.run_id}` },
  onchange: (change) => {
    if (change.target.checked) state.chosen.add(run.run_id);
    else state.chosen.delete(run.run_id);
    // Two at most: the one that was chosen first gives way.
    while (state.chosen.size > 2) state.chosen.delete(state.chosen.values().next().value);
    drawRuns();
  } });

// Two finished sweeps side by side: what was asked for, what was best, and what was held out.
function drawCompared() {
  const two = [...state.chosen].map((id) => state.runs.find((run) => run.run_id === id));
  $("compared-panel").hidden = two.length < 2;
  if (two.length < 2) { $("compared").replaceChildren(); return; }
  const best = (run) => run.results.best, line = (name, one) => [name, ...two.map(one)];
  const rows = [line("what", titleOf), line("range", spanOf), line("looked for", (run) => figureOf(run.config.objective)[0]),
    line("grid", (run) => Object.entries(run.config.grid).map(([name, values]) => `${name}: ${values.length} from ${Math.min(...values)} to ${Math.max(...values)}`).join(", ")),
    line("sets tried", (run) => format.amount(run.tried)), line("best", (run) => format.params(best(run).searched ?? best(run).params)),
    ...Object.entries(FIGURES).map(([key, [text, shown]]) => line(text, (run) => shown(best(run).metrics[key]))), line("trades", (run) => format.amount(best(run).trades)),
    ...(two.some((run) => run.results.held) ? [line("return held out", (run) => format.percent(run.results.held?.held_metrics.total_return))] : []),
    line("deflated Sharpe ratio", (run) => percent(run.results.deflated_sharpe))];
  table($("compared"), "Two sweeps compared", ["", ...two.map((run) => run.run_id.slice(0, 8))], rows.map((cells) => [
    node("th", { scope: "row", textContent: cells[0] }), ...cells.slice(1).map((textContent) => node("td", { textContent }))]), "");
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
  const axes = axesOf(run).map((name) => [name, name]), names = Object.entries(FIGURES).map(([name, [text]]) => [name, text]);
  options($("by"), run.config.objective in FIGURES ? names : [[run.config.objective, run.config.objective], ...names], run.config.objective);
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
  drawPictures();
  drawScores();
}

function drawScores() {
  const names = Object.keys(state.shown.config.grid);
  stack($("scores"), "The best sets", [...names, ...Object.values(FIGURES).map(([text]) => text), "trades"], state.items.slice(0, BEST).map((item) => [
    ...names.map((name) => String(item.params[name])),
    ...Object.entries(FIGURES).map(([key, [, shown]]) => figure(item.metrics[key], shown)), format.amount(item.trades),
  ]), "No set fulfils the constraints.");
}

function drawPictures() {
  const by = $("by").value, figure = FIGURES[by] ?? [by, format.ratio, true];
  const [across, down] = [$("across").value, $("down").value].map((name) => name || null);
  map($("map"), state.items, { by, across, down, figure });
  parallel($("lines"), state.items, { by, names: axesOf(state.shown), figure });
}

const unreadable = (field, message, fix = HOW) => Object.assign(new Error(message), { field, fix });

// "5:50:5" with both ends, or "5, 10, 20"; what is in them is for the API to refuse.
function axis(name, text) {
  if (!text.includes(":")) {
    const parts = text.split(/[\s,]+/).filter(Boolean), wrong = parts.find((part) => !Number.isFinite(Number(part)));
    if (wrong !== undefined || !parts.length) throw unreadable(name, `${name} ${text}: ${wrong ?? text} is no number.`);
    return parts.map(Number);
  }
  const [first, last, step, ...rest] = text.split(":").map((part) => (part.trim() ? Number(part) : NaN));
  if (rest.length || ![first, last, step].every(Number.isFinite) || step <= 0 || last < first)
    throw unreadable(name, `${name} ${text} cannot be read as FIRST:LAST:STEP.`);
  const count = Math.floor((last - first) / step + 1e-9) + 1;
  if (count > MOST_VALUES) throw unreadable(name, `${name} ${text} has ${format.amount(count)} values.`, `Take a wider step: at most ${format.amount(MOST_VALUES)}.`);
  const digits = Math.max(...text.split(":").map((part) => (part.split(".")[1] ?? "").trim().length));
  return Array.from({ length: count }, (_, place) => Number((first + place * step).toFixed(digits)));
}

function request() {
  const grid = Object.fromEntries(paramTexts().map(([name, text]) => [name, axis(name, text)])), trials = $("trials").value.trim(), holdout = $("holdout").value.trim();
  if (!Object.keys(grid).length)
    throw unreadable($("params").querySelector("input")?.name, "A sweep needs several values of a parameter.");
  return { ...about(), grid, ...filled({ objective: $("objective").value, min_trades: number($("min-trades").value), trials: number(trials), method: trials ? "random" : null,
    holdout: holdout ? number(holdout) / 100 : null }) };
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

// Quickly while something runs and the stream is silent, slowly otherwise: others may start one.
async function look() {
  let busy = false;
  try {
    await loadRuns();
    busy = state.runs.some(unfinished);
    if (state.shown && unfinished(state.shown)) await refresh();
  } catch (error) { report(error); }
  clearTimeout(state.timer);
  state.timer = setTimeout(look, busy && !state.live ? SOON : LATER);
}

const watch = calm(0, look);
const drawSoon = calm(300, async () => drawRuns());
const refreshSoon = calm(2000, async () => { if (state.shown) await refresh(); });

// What the stream tells of sweeps as they go; when one begins or ends, its row is read.
function hear({ kind, payload }) {
  if (kind !== "run" || payload.kind !== "sweep") return;
  const run = state.runs.find((item) => item.run_id === payload.run_id);
  if (!run || payload.status !== "running" || run.status !== "running") {
    state.told.delete(payload.run_id);
    if (!run || run.status !== payload.status) watch();
    if (payload.status !== "running") return;
  }
  state.live = true;
  state.told.set(payload.run_id, payload);
  if (!run) return;
  drawSoon();
  if (state.shown?.run_id === payload.run_id) refreshSoon();
}

async function start() {
  frame("sweeps", { onZone: watch });
  loadHealth().catch(report);
  follow({ onEvent: hear, onReset: watch, onState: (how) => { if (how !== "on") state.live = false; } });
  options($("objective"), Object.entries(FIGURES).map(([name, [text]]) => [name, text]), "sharpe");
  $("start").onsubmit = send;
  $("strategy").onchange = showParams;
  for (const id of ["across", "down"]) $(id).onchange = drawPictures;
  $("by").onchange = () => refresh().catch(report);
  $("sweep-close").onclick = () => { close(); $("runs-title").focus(); };
  const chosen = choices().then((items) => { state.strategies = items; showParams(); });
  await Promise.all([chosen, look()]);
}

start().catch(report);
