// Why one decision came out as it did: what was asked, each condition, the gate, and the orders and fills it led to.

import { get } from "./api.js";
import { show } from "./dialogs.js";
import * as format from "./format.js";
import { actionWords, node, outcomeTag, table } from "./tables.js";

// For an entry that rests, with its price and how long it waits.
const orderType = (order) => (order.price == null ? order.type.toLowerCase() : `${order.type.toLowerCase()} at ${format.price(order.price)} until ${format.date(order.expires_time, true)}`);

export async function explain(id) {
  const item = await get(`/decisions/${encodeURIComponent(id)}`);
  const asked = [item.asked.strategy, format.params(item.asked.params)].filter(Boolean).join(": ");
  const orders = node("div", { className: "scroll short" });
  table(orders, "Orders and fills", ["order", "type", "status", "fills"], item.orders.map((order) => [
    node("td", {}, actionWords([order.action]), node("small", { className: "soft", textContent: ` ${order.order_id}` })),
    node("td", {}, orderType(order)),
    node("td", {}, order.status, order.reason ? node("div", { className: "soft", textContent: order.reason }) : null),
    node("td", {}, ...(order.fills.length ? order.fills.map((fill) => node("div", { textContent: `${format.amount(fill.quantity, 8)} at ${format.price(fill.price)}, fee ${format.amount(fill.fee, 8)} ${fill.fee_asset}` })) : ["–"])),
  ]), "No order followed.");
  const plan = Object.entries(item.plan).filter(([name, value]) => name !== "reasons" && value != null);
  show(`Why: ${actionWords(item.actions)}`,
    node("p", { className: "soft", textContent: `${item.market.replace(":", " ")} ${item.interval}, closed ${format.date(item.close_time, true)} at ${format.price(item.price)} · ${item.book} · confidence ${Math.round(item.confidence * 100)} %` }),
    asked ? node("p", {}, node("b", { textContent: asked }), item.asked.summary ? ` – ${item.asked.summary.replaceAll("``", "")}` : "") : null,
    node("h3", { textContent: item.from_reasons ? "Its reasons" : "What it saw" }),
    item.conditions.length ? node("ul", { className: "words" }, ...item.conditions.map((text) => node("li", { textContent: text }))) : node("p", { className: "soft", textContent: "It was not asked." }),
    plan.length ? node("p", { className: "soft", textContent: `Its plan: ${plan.map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")}` }) : null,
    node("h3", {}, "What became of it ", outcomeTag(item)), node("p", { textContent: item.gate.text }),
    item.candle && item.candle.revision > item.candle_revision ? node("p", { className: "warn", textContent: "Its candle was corrected afterwards." }) : null,
    orders);
}
