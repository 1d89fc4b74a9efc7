// Walk-forwards beside the backtests: what they found out of sample first, then how it came about.

import { get, post } from "./api.js";
import * as format from "./format.js";
import { $, calm, report } from "./frame.js";
import { deleteButton, figure, keepFocus, marketsOf, paceCell, spanOf, stateCell, strategiesOf, titleOf, unfinished } from "./runs.js";
import { node, stack, table } from "./tables.js";

const SHOWN = 50;
const share = (value) => format.percent(value, false);
// What the stream said last of each that runs.
const told = new Map();
let shown = null, listed = [];

// Whether one of them is still to come to its end.
export async function loadWalks() {
  listed = (await get("/walkforwards", { limit: SHOWN })).items;
  draw();
  return listed.some(unfinished);
}

function draw() {
  keepFocus($("walks"), () => stack($("walks"), "Walk-forwards, the newest first",
    ["out of sample", "Sharpe", "max drawdown", "twice the costs", "strategy", "market", "windows", "state", "actions"], listed.map(row),
    "No walk-forward yet. It chooses parameters on the past and judges them on what follows: ./run walkforward run --help"));
}

const drawSoon = calm(300, async () => draw());

// What the stream tells of one that runs.
export function hear({ kind, payload }) {
  if (kind !== "run" || payload.kind !== "walk-forward") return;
  if (payload.status === "running") told.set(payload.run_id, payload);
  else told.delete(payload.run_id);
  drawSoon();
}

async function stop(run) {
  try {
    await post(`/walkforwards/${run.run_id}/stop`);
    $("said").textContent = `The walk-forward of ${titleOf(run)} is stopped; what it has found is kept.`;
    await loadWalks();
  } catch (error) { report(error); }
}

function row(run) {
  const news = unfinished(run) ? told.get(run.run_id) : null, tested = run.results?.out_of_sample ?? {}, { mode, train, test } = run.config;
  return [
    figure(tested.total_return, format.percent, format.tone(tested.total_return)), figure(tested.sharpe, format.ratio),
    figure(tested.max_drawdown == null ? null : -tested.max_drawdown, format.percent), figure(tested.pessimistic_return, format.percent, format.tone(tested.pessimistic_return)),
    node("td", { className: "left", textContent: strategiesOf(run) }), node("td", {}, node("span", {}, marketsOf(run), node("small", { textContent: run.intervals.join(", ") }))),
    train == null ? "–" : `${mode}, ${train} / ${test} days`, news ? paceCell({ ...run, progress: news.progress }, news, "runs") : stateCell(run),
    node("td", {}, node("div", { className: "actions" },
      run.status === "done" ? node("a", { className: "button small", textContent: "Report", ariaLabel: `Report of the walk-forward of ${titleOf(run)}`, data: { key: `walk report ${run.run_id}` }, href: `/dashboard/report?${new URLSearchParams({ walkforward: run.run_id })}` }) : null,
      run.status === "done" ? node("button", { type: "button", className: "small", textContent: "Details", ariaLabel: `Details of ${titleOf(run)}`, data: { key: `walk ${run.run_id}` }, onclick: () => open(run.run_id).catch(report) }) : null,
      unfinished(run) ? node("button", { type: "button", className: "small", textContent: "Stop", ariaLabel: `Stop the walk-forward of ${titleOf(run)}`, data: { key: `walk stop ${run.run_id}` }, onclick: () => stop(run) }) : null,
      deleteButton("/walkforwards", "walk-forward", run, gone))),
  ];
}

function gone(run) {
  if (shown === run.run_id) close();
  $("said").textContent = `The walk-forward of ${titleOf(run)} is deleted.`;
  $("walks-title").focus();
  loadWalks().catch(report);
}

export function close() {
  shown = null;
  $("walk-panel").hidden = true;
}

async function open(id) {
  const run = await get(`/walkforwards/${id}`), found = run.results, searched = Object.keys(run.config.grid ?? {});
  shown = id;
  const figures = node("div", { className: "scroll-x" }), folds = node("div", { className: "scroll-x" });
  const best = found.search.best;
  table(figures, "Out of sample and the best of the search", ["figure", "out of sample", "best of the search"], [
    ["total return", format.percent(found.out_of_sample.total_return), format.percent(best.total_return)],
    ["Sharpe", format.ratio(found.out_of_sample.sharpe), format.ratio(best.sharpe)],
    ["days", format.amount(found.out_of_sample.days), format.amount(found.search.days)],
  ], "");
  // In the training, which chose, beside the test; runs that older versions stored have less of the former.
  stack(folds, "Folds", ["tested on", "chosen", ...["Sharpe", "return", "max drawdown", "trades"].flatMap((name) => [`${name} trained`, `${name} tested`])], found.folds.map((fold) => [
    `${format.date(fold.test_start)} – ${format.date(fold.test_end)}`, node("td", { className: "left", textContent: format.params(Object.fromEntries(searched.map((name) => [name, fold.params[name]]))) }),
    figure(fold.train_sharpe, format.ratio), figure(fold.test_sharpe, format.ratio), figure(fold.train_return, format.percent, format.tone(fold.train_return)), figure(fold.test_return, format.percent, format.tone(fold.test_return)),
    figure(fold.train_drawdown, share), figure(fold.test_drawdown, share), figure(fold.train_trades, format.amount), figure(fold.trades, format.amount),
  ]), "It has no folds.");
  $("walk-title").textContent = `${titleOf(run)}, ${spanOf(run)}`;
  $("walk").replaceChildren(node("ul", { className: "words" }, ...found.words.map((text) => node("li", { textContent: text }))), figures, folds);
  $("walk-panel").hidden = false;
  $("walk-title").focus();
}
