// The form that a backtest or a sweep is asked for with: what there is to choose from, and what was refused at its field.

import { get } from "./api.js";
import { refusal } from "./dialogs.js";
import { $ } from "./frame.js";
import { node } from "./tables.js";

export const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

// Fills the choices of strategy and market and gives the strategies; `?strategy=` of the address chooses one.
export async function choices() {
  const [{ items }, markets] = await Promise.all([get("/strategies"), get("/markets", { limit: 500 })]);
  const asked = new URLSearchParams(location.search).get("strategy");
  $("strategy").replaceChildren(...items.map((item) => node("option", { value: item.name, textContent: item.name, selected: item.name === asked })));
  $("market").replaceChildren(...markets.items.map((item) => node("option", { value: item.market, textContent: item.market.replace(":", " ") })));
  return items;
}

// An input for each parameter of `strategy` that is a number.
export function paramInputs(strategy, legend, inputMode) {
  const inputs = Object.entries(strategy?.params ?? {}).filter(([, value]) => typeof value.default === "number").map(([name, value]) => node("label", {}, `${name} `,
    node("input", { name, inputMode, autocomplete: "off", placeholder: String(value.default) }), node("small", { textContent: value.allowed })));
  $("params").replaceChildren(node("legend", { textContent: legend }), ...inputs);
}

export const paramTexts = () => [...$("params").querySelectorAll("input")].filter((input) => input.value.trim()).map((input) => [input.name, input.value.trim()]);

// What both kinds of run are about; what was left empty is left out.
export function about() {
  const intervals = $("intervals").value.split(/[\s,]+/).filter(Boolean);
  return filled({ strategy: $("strategy").value, market: $("market").value, profile: $("profile").value, start: $("start-day").value, end: $("end-day").value,
    capital: $("capital").value.trim(), intervals: intervals.length ? intervals : null });
}

export const filled = (body) => Object.fromEntries(Object.entries(body).filter(([, value]) => value != null && value !== ""));

// Shows what was refused beside the field that it names, and puts the keyboard there; the words at the button say where to
// look. What names no field of the form is told at the button.
export function blame(error) {
  const form = $("start");
  form.querySelector("#blamed")?.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
  const input = error?.field ? fieldOf(form, error.field) : null;
  $("refused").textContent = !error ? "" : input ? `Not started: see ${input.name.replaceAll("_", " ")}.` : refusal(error);
  if (!input) return;
  const value = input.value.trim(), told = refusal(error);
  input.after(node("small", { id: "blamed", className: "refused", role: "alert", textContent: value && !told.includes(value) ? `“${value}”: ${told}` : told }));
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", "blamed");
  input.focus();
}

// `grid.period` and `params.period` name the period; what is wrong with the grid as a whole is told at its first value.
function fieldOf(form, field) {
  const parts = field.split("."), name = parts[0] === "symbol" ? "market" : parts[0];
  const given = [...$("params").querySelectorAll("input")].find((input) => input.value.trim());
  return [...parts.slice(1).reverse(), name].map((each) => form.querySelector(`[name="${CSS.escape(each)}"]`)).find(Boolean) ?? (parts[0] === "grid" ? given : null);
}
