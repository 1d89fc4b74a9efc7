// What backtests, walk-forwards and sweeps have in common as rows: what was run, how far it is, and the question before one is deleted.

import { remove } from "./api.js";
import { confirmed } from "./dialogs.js";
import * as format from "./format.js";
import { node } from "./tables.js";

export const unfinished = (run) => run.status === "queued" || run.status === "running";

// A run may be of several strategies or markets; an instance among them is named by its strategy.
const several = (list, one) => (list?.length ? list : [one]).map((item) => (typeof item === "string" ? item : item.strategy ?? item.name ?? item.market));
export const strategiesOf = (run) => [...new Set(several(run.strategies ?? run.config?.strategies, run.strategy))].join(", ");
export const marketsOf = (run) => several(run.markets ?? run.config?.markets, run.market).join(", ");

// Of several instances each one's that are not its strategy's own, with its name.
export function paramsOf(run) {
  const instances = run.config?.strategies;
  if (!instances) return format.params(run.config?.params);
  return instances.filter((item) => Object.keys(item.params ?? {}).length).map((item) => `${item.name}: ${format.params(item.params)}`).join("; ");
}

export const profileOf = (run) => [...new Set((run.config?.strategies ?? [run.config ?? {}]).map((item) => item.profile ?? "–"))].join(", ");
export const titleOf = (run) => `${strategiesOf(run)} on ${marketsOf(run)} ${run.intervals.join(", ")}`;

function reach(run) {
  const { start_ms: from, end_ms: to } = run.config?.backtest ?? run.config ?? {};
  const start = run.results?.start ?? from, end = run.results?.end ?? to;
  return start == null && end == null ? ["all recorded"] : [start == null ? "first" : format.date(start), end == null ? "newest" : format.date(end)];
}

export const spanOf = (run) => reach(run).join(" – ");

export function spanCell(run) {
  const [start, end] = reach(run);
  return node("td", {}, node("span", {}, start, end ? node("small", { textContent: `to ${end}` }) : null));
}

export function stateCell(run) {
  if (run.status === "failed") return node("td", { className: "wrong", textContent: `✕ failed: ${run.error}` });
  if (run.status === "queued") return node("td", { className: "soft", textContent: "queued" });
  if (run.status === "stopped" || run.status === "interrupted") return node("td", { className: "soft", textContent: `${run.status} at ${Math.round(run.progress * 100)} %` });
  if (run.status === "done") return node("td", {}, node("span", {}, node("span", { className: "up", textContent: "✓ done" }), run.finished_at == null ? null : node("small", { textContent: format.time(run.finished_at) })));
  const share = Math.round(run.progress * 100);
  return node("td", {}, node("span", {}, node("progress", { max: 100, value: share, ariaLabel: `Progress of ${titleOf(run)}` }), ` ${share} %`));
}

// The same of a search that runs, and how fast it goes and how long it takes yet, as the stream told: so many `what` a second.
export function paceCell(run, news, what) {
  const cell = stateCell(run), left = news.eta_s == null ? "" : `, ${news.eta_s < 60 ? `${Math.ceil(news.eta_s)} s` : format.minutes(news.eta_s / 60)} left`;
  cell.append(node("small", { textContent: `${format.amount(news.rate, 1)} ${what}/s${left}` }));
  return cell;
}

export const figure = (value, shown, tone = "") => node("td", { className: `num ${tone}`, textContent: shown(value) });

// `path` is /backtests, /walkforwards or /sweeps; `gone` is told when it is.
export function deleteButton(path, what, run, gone) {
  const text = unfinished(run) ? `It is ${run.status}. What it has found so far is lost.` : "Its figures and everything in its book go with it.";
  return node("button", { type: "button", className: "small", textContent: "Delete", ariaLabel: `Delete ${titleOf(run)}`, data: { key: `delete ${run.run_id}`, status: run.status },
    onclick: () => confirmed(`Delete this ${what}?`, `${titleOf(run)}, ${spanOf(run)}. ${text}`, "Delete",
      () => remove(`${path}/${run.run_id}`, unfinished(run) ? { force: true } : {}), () => gone(run)) });
}

// Builds `rows` anew and keeps the keyboard where it was.
export function keepFocus(place, build) {
  const held = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  build();
  if (held) place.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus();
}
