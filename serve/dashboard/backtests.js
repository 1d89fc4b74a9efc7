// Backtests: start one, watch it, open its report, compare two, delete; and walk-forwards beside them.

import { get, post } from "./api.js";
import { blame, choices, number, paramInputs, paramTexts } from "./form.js";
import * as format from "./format.js";
import { $, calm, follow, frame, loadHealth, report } from "./frame.js";
import { deleteButton, figure, keepFocus, marketsOf, paramsOf, profileOf, spanCell, spanOf, stateCell, strategiesOf, titleOf, unfinished } from "./runs.js";
import { node, stack, table } from "./tables.js";
import { asked, hasParams, offer, show } from "./together.js";
import { close, hear, loadWalks } from "./walkforwards.js";

const PAGE = 50, SOON = 1000, LATER = 15_000;
const state = { runs: [], extra: [], cursor: null, chosen: [], strategies: [], timer: null };

async function loadRuns() {
  const page = await get("/backtests", { limit: PAGE });
  state.runs = page.items;
  if (!state.extra.length) state.cursor = page.next_cursor;
  draw();
}

const listed = () => [...state.runs, ...state.extra.filter((run) => !state.runs.some((newer) => newer.run_id === run.run_id))];

async function older() {
  const page = await get("/backtests", { limit: PAGE, cursor: state.cursor });
  state.extra.push(...page.items);
  state.cursor = page.next_cursor;
  draw();
}

function draw() {
  const runs = listed(), waiting = runs.filter(unfinished).length;
  $("runs-sum").textContent = `${runs.length}${state.cursor ? "+" : ""}${waiting ? `, ${waiting} not finished` : ""}${runs.length > 1 ? " · select two to compare" : ""}`;
  $("older").hidden = !state.cursor;
  keepFocus($("runs"), () => stack($("runs"), "Backtests, the newest first",
    ["compare", "strategy", "market", "range", "return", "Sharpe", "max drawdown", "twice the costs", "trades", "state", "actions"], runs.map(row),
    "No backtest yet. Start one above: a strategy and a market are enough."));
}

function row(run) {
  const found = run.results ?? {}, done = run.status === "done" && run.results;
  return [
    node("td", {}, done ? node("input", { type: "checkbox", className: "check", defaultChecked: state.chosen.includes(run.run_id), ariaLabel: `Compare ${titleOf(run)}, ${format.time(run.created_at)}`,
      disabled: state.chosen.length > 1 && !state.chosen.includes(run.run_id), data: { key: `compare ${run.run_id}` }, onchange: (change) => choose(run.run_id, change.target.checked) }) : null),
    node("td", { className: "left" }, node("span", {}, node("b", { textContent: strategiesOf(run) }), node("small", { textContent: paramsOf(run) || "default parameters" }))),
    node("td", {}, node("span", {}, marketsOf(run), node("small", { textContent: run.intervals.join(", ") }))), spanCell(run),
    figure(found.total_return, format.percent, format.tone(found.total_return)), figure(found.sharpe, format.ratio),
    figure(found.max_drawdown == null ? null : -found.max_drawdown, format.percent), figure(found.pessimistic?.total_return, format.percent, format.tone(found.pessimistic?.total_return)),
    found.trades == null ? "–" : format.amount(found.trades), stateCell(run),
    node("td", {}, node("div", { className: "actions" },
      done ? node("a", { className: "button small", textContent: "Report", ariaLabel: `Report of ${titleOf(run)}`, data: { key: `report ${run.run_id}` }, href: `/dashboard/report?${new URLSearchParams({ run: run.run_id })}` }) : null,
      deleteButton("/backtests", "backtest", run, gone))),
  ];
}

function gone(run) {
  state.extra = state.extra.filter((other) => other.run_id !== run.run_id);
  if (state.chosen.includes(run.run_id)) choose(run.run_id, false);
  $("said").textContent = `The backtest of ${titleOf(run)} is deleted.`;
  $("runs-title").focus();
  loadRuns().catch(report);
}

function choose(id, wanted) {
  state.chosen = wanted ? [...state.chosen, id].slice(0, 2) : state.chosen.filter((other) => other !== id);
  draw();
  compare();
}

const money = (value) => format.amount(value, 2);
const FIGURES = [
  ["total return", "total_return", format.percent], ["final equity", "final_equity", money], ["Sharpe", "sharpe", format.ratio], ["Sortino", "sortino", format.ratio],
  ["max drawdown", "max_drawdown", (value) => format.percent(value == null ? null : -value)], ["trades", "trades", format.amount], ["win rate", "win_rate", (value) => format.percent(value, false)],
  ["profit factor", "profit_factor", format.ratio], ["fees", "fees", money], ["exposure", "exposure", (value) => format.percent(value, false)], ["days", "days", format.amount],
];

function compare() {
  const runs = state.chosen.map((id) => listed().find((run) => run.run_id === id)).filter((run) => run?.results);
  $("compared-panel").hidden = runs.length < 2;
  if (runs.length < 2) return;
  const lines = [
    ["strategy", ...runs.map(strategiesOf)], ["parameters", ...runs.map((run) => paramsOf(run) || "default")], ["market", ...runs.map(marketsOf)], ["intervals", ...runs.map((run) => run.intervals.join(", "))],
    ["range", ...runs.map(spanOf)], ["profile", ...runs.map(profileOf)], ["capital", ...runs.map((run) => money(run.config.capital))],
    ...FIGURES.map(([name, key, shown]) => [name, ...runs.map((run) => shown(run.results[key]))]),
    ...FIGURES.slice(0, 5).map(([name, key, shown]) => [`${name} at twice the costs`, ...runs.map((run) => shown(run.results.pessimistic?.[key]))]),
  ];
  table($("compared"), "Two backtests compared", ["figure", ...runs.map((run) => format.time(run.created_at))], lines, "");
  $("compared").querySelectorAll("tbody tr").forEach((line, number) => { if (lines[number][1] !== lines[number][2]) line.className = "differs"; });
}

const showParams = () => paramInputs(state.strategies.find((item) => item.name === $("strategy").value), "Parameters; empty: the strategy's own", "decimal");

async function loadChoices() {
  state.strategies = await choices();
  showParams();
  await offer(state.strategies);
}

function request() {
  const params = hasParams() ? paramTexts().map(([name, text]) => [name, number(text)]) : [];
  return { ...asked(), ...(params.length ? { params: Object.fromEntries(params) } : {}) };
}

async function send(event) {
  event.preventDefault();
  blame(null);
  $("go").disabled = true;
  try {
    const accepted = await post("/backtests", request());
    $("said").textContent = "The backtest is queued.";
    await loadRuns();
    document.querySelector(`[data-key="delete ${accepted.run_id}"]`)?.scrollIntoView({ block: "nearest" });
    watch();
  } catch (error) { blame(error); }
  $("go").disabled = false;
}

// Quickly while something runs, slowly otherwise: others may start one.
async function look() {
  let busy = false;
  try {
    const [, walking] = await Promise.all([loadRuns(), loadWalks()]);
    busy = walking || state.runs.some(unfinished);
  } catch (error) { report(error); }
  clearTimeout(state.timer);
  state.timer = setTimeout(look, busy ? SOON : LATER);
}

const watch = calm(0, look);

async function start() {
  frame("backtests", { onZone: () => { watch(); compare(); } });
  loadHealth().catch(report);
  follow({ onEvent: hear, onReset: watch });
  $("start").onsubmit = send;
  $("strategy").onchange = showParams;
  $("what").onchange = show;
  $("older").onclick = () => older().catch(report);
  $("uncompare").onclick = () => { state.chosen = []; draw(); compare(); $("runs-title").focus(); };
  $("walk-close").onclick = () => { close(); $("walks-title").focus(); };
  await Promise.all([loadChoices(), look()]);
}

start().catch(report);
