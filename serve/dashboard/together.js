// What a backtest runs: one strategy on one market, several of either that share the capital, or a configured book.

import { get } from "./api.js";
import { about } from "./form.js";
import { $ } from "./frame.js";
import { node } from "./tables.js";

const CAPITAL = "10000";
const kind = () => $("what").value;
const chosen = (id) => [...$(id).querySelectorAll("input:checked")].map((input) => input.value);

// Lists what can be chosen: instances by their names first, then strategies that none of them bears.
export async function offer(strategies) {
  const [{ items }, markets] = await Promise.all([get("/instances", { limit: 500 }), get("/markets", { limit: 500 })]);
  const names = [...new Set([...items.map((item) => item.name), ...strategies.map((item) => item.name)])];
  const running = new Map(items.map((item) => [item.name, `${item.strategy}, as configured`]));
  boxes("strategies", "Strategies and instances; none: the first configured", names.map((name) => [name, name, running.get(name)]));
  boxes("markets", "Markets", markets.items.map((item) => [item.market, item.market.replace(":", " ")]));
  const books = [...new Set(items.map((item) => item.book))];
  $("book").replaceChildren(...books.map((name) => node("option", { value: name, textContent: name })));
  $("what").querySelector("[value=book]").disabled = !books.length;
  show();
}

function boxes(id, legend, choices) {
  $(id).replaceChildren(node("legend", { textContent: legend }), ...choices.map(([value, text, more]) => node("label", {},
    node("input", { type: "checkbox", className: "check", name: id, value }), ` ${text}`, more ? node("small", { textContent: more }) : null)));
}

// Shows the fields that the kind of run has.
export function show() {
  const one = kind() === "one", book = kind() === "book";
  for (const [id, wanted] of [["strategy", one], ["market", one], ["intervals", !book], ["profile", !book], ["book", book]]) $(id).closest("label").hidden = !wanted;
  $("params").hidden = !one;
  $("strategies").hidden = kind() !== "several";
  $("markets").hidden = one;
  const capital = $("capital");
  capital.placeholder = book ? "the book's" : "";
  if (book && capital.value === CAPITAL) capital.value = "";
  if (!book && !capital.value.trim()) capital.value = CAPITAL;
}

// The request without its parameters.
export function asked() {
  const { strategy, market, intervals, profile, ...rest } = about();
  if (kind() === "one") return about();
  const markets = chosen("markets"), strategies = chosen("strategies");
  const where = markets.length ? { markets } : {};
  if (kind() === "book") return { book: $("book").value, ...where, ...rest };
  return { ...(strategies.length ? { strategies } : {}), ...where, ...(intervals ? { intervals } : {}), ...(profile ? { profile } : {}), ...rest };
}

export const hasParams = () => kind() === "one";
