// What every page has around it: the header with its state, the banner, the login, and the stream of events.

import { get, stream } from "./api.js";
import * as format from "./format.js";
import { login } from "./login.js";
import * as tables from "./tables.js";

const PAGES = [["trade", "/dashboard", "Trading"], ["market", "/dashboard/market", "Chart"], ["data", "/dashboard/data", "Data"],
  ["strategies", "/dashboard/strategies", "Strategies"], ["backtests", "/dashboard/backtests", "Backtests"], ["sweeps", "/dashboard/sweeps", "Sweeps"]];
const { node } = tables;

export const $ = (id) => document.getElementById(id);
export const here = { health: null, onHealth: () => {} };

// Thrown away: an answer for something that is no longer shown.
export class Stale extends Error {}

// At most one run at a time and one waiting, at least `pause` apart: any number of events costs a bounded number of calls.
export function calm(pause, work) {
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

export function report(error) {
  if (error instanceof Stale) return;
  $("banner").hidden = false;
  $("banner").textContent = `⚠ Not up to date: ${error.message}. Trying again.`;
}

export async function loadHealth() {
  const health = await get("/health", { quiet: 1 });
  here.health = { ...here.health, ...health };
  const badge = $("health");
  badge.dataset.state = health.status;
  const holes = health.markets.reduce((sum, market) => sum + market.unresolved_holes, 0);
  badge.textContent = `${{ ok: "✓ healthy", degraded: "! degraded", down: "✕ down" }[health.status]}${holes ? ` · ${holes} hole${holes > 1 ? "s" : ""}` : ""}`;
  tables.health($("health-detail"), health);
  const words = health.database === "ok" ? warning(health.markets) : "⚠ The database cannot be reached. Numbers below may be old.";
  $("banner").hidden = !words;
  $("banner").textContent = words;
  if (health.database === "ok") {
    const mode = health.origin === "simulator" ? "SIMULATOR" : (health.books[0]?.mode ?? "paper").toUpperCase();
    $("mode").textContent = mode === "SIMULATOR" ? "SIMULATOR · PAPER" : mode;
    $("mode").dataset.mode = mode.toLowerCase();
  }
  here.onHealth();
}

function warning(markets) {
  const stale = markets.filter((market) => market.stale);
  if (stale.length)
    return `⚠ Stale: ${stale.map((market) => `${market.market} since ${format.clock(market.stale_since)} (${market.stale})`).join("; ")}. No target of it is acted on until it is fresh again.`;
  const silent = markets.filter((market) => market.feed === "down").map((market) => market.market);
  return silent.length ? `⚠ Feed down: ${silent.join(", ")}. Reconnecting; missed candles are fetched afterwards.` : "";
}

export const refreshHealth = calm(700, loadHealth);

// Builds the header of `page`; `hasMarket`: with a choice of market. `onZone` is told when times are shown in another zone.
export function frame(page, { hasMarket = false, onZone = () => {} } = {}) {
  const links = PAGES.map(([name, href, text]) => node("a", { href, textContent: text, ...(name === page ? { ariaCurrent: "page" } : {}) }));
  const market = hasMarket ? node("label", { className: "market" }, node("span", { className: "sr", textContent: "Market" }), node("select", { id: "market" })) : null;
  const live = node("span", { id: "live", className: "live", role: "status", data: { state: "wait" } }, node("i", { ariaHidden: "true" }), node("span", { textContent: "connecting" }));
  const detail = node("section", { id: "health-detail", className: "panel detail", ariaLabel: "Health", hidden: true });
  const health = node("button", { id: "health", className: "badge health", type: "button", ariaExpanded: "false", textContent: "health …", data: { state: "wait" },
    onclick: () => { detail.hidden = !detail.hidden; health.ariaExpanded = String(!detail.hidden); } });
  const zone = node("button", { id: "zone", className: "quiet", type: "button", title: "Switch between UTC and local time", textContent: "UTC",
    onclick: () => {
      const local = zone.textContent === "UTC";
      format.useLocalTime(local);
      zone.textContent = local ? "local" : "UTC";
      refreshHealth();
      onZone();
    } });
  document.body.prepend(
    node("header", { className: "top" },
      node("div", { className: "brand" }, node("img", { src: "/dashboard/icon.svg", alt: "", width: 26, height: 26 }), node("h1", { textContent: "Manta" })),
      node("nav", { className: "pages", ariaLabel: "Pages" }, ...links), market,
      node("span", { id: "mode", className: "badge mode", title: "What the orders are: paper means simulated money", textContent: "…" }),
      node("span", { className: "spacer" }), live, health, zone),
    node("div", { id: "banner", className: "banner", role: "alert", hidden: true }), detail);
  document.body.append(login());
  // Colours are drawn into canvases: with another scheme everything is drawn anew.
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => location.reload());
}

// Waits until there is a market, then follows the stream; health is kept up to date on the way.
export async function ready() {
  for (;;) {
    try { await loadHealth(); if (here.health.markets.length) return; } catch (error) { report(error); }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

export function follow({ onEvent, onReset, onState = () => {} }) {
  stream({
    onEvent, onReset,
    onState: (how) => {
      $("live").dataset.state = how;
      $("live").lastElementChild.textContent = how === "on" ? "live" : "reconnecting";
      if (how === "on") refreshHealth();
      onState(how);
    },
  });
  // Silence is news too: ages grow while nothing is said.
  setInterval(refreshHealth, 10_000);
}

export function chooseMarket(keys, chosen, onChange) {
  $("market").replaceChildren(...keys.map((key) => node("option", { value: key, textContent: key.replace(":", " "), selected: key === chosen })));
  $("market").onchange = (change) => onChange(change.target.value);
}
