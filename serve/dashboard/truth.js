// What the reference backtest says of the days that the books have lived: a row of days, and what differs in one of them.

import { get } from "./api.js";
import * as format from "./format.js";
import { node, table } from "./tables.js";

const DAYS = 14, ROWS = 50;
const MARKS = { identical: "✓", explained: "✓", different: "✕", failed: "!" };
const TONES = { identical: "up", explained: "warn", different: "down", failed: "down" };

export class Truth {
  // `place` takes the days and their differences, `title` the day that is shown, `badge` its result.
  constructor(place, title, badge) {
    Object.assign(this, { place, title, badge, chosen: null, turn: 0, listed: null });
    this.lines = node("div");
    this.days = node("div", { className: "days", role: "group", ariaLabel: "Days that were compared" });
    this.list = node("div", { className: "scroll" });
  }

  async load() {
    const { items } = await get("/parity", { limit: 4 * DAYS });
    this.badge.hidden = !items.length;
    if (!items.length) {
      this.title.textContent = "";
      this.place.replaceChildren(node("p", { className: "empty",
        textContent: "After midnight UTC the day is replayed through the backtest and compared, to the last bit. None has been compared yet." }));
      return;
    }
    this.place.replaceChildren(this.lines, this.days, this.list);
    const books = [...new Set(items.map((item) => item.book))];
    this.days.replaceChildren(...books.map((book) => this.row(book, items.filter((item) => item.book === book), books.length > 1)));
    const known = this.chosen && items.find((item) => item.book === this.chosen.book && item.day === this.chosen.day);
    await this.show(known ?? worst(items.filter((item) => item.day === items[0].day)), Boolean(known));
  }

  row(book, items, named) {
    const shown = items.slice(0, DAYS).reverse();
    return node("div", {}, named ? node("span", { className: "soft", textContent: book }) : null,
      ...shown.map((item) => node("button", {
        type: "button", className: TONES[item.status], textContent: `${MARKS[item.status]} ${Number(item.day.slice(8))}`,
        title: `${dayName(item)}: ${words(item)}`, ariaLabel: `${book}, ${dayName(item)}: ${words(item)}`,
        data: { day: item.day, book }, onclick: () => this.show(item, true),
      })));
  }

  async show(item, chosen) {
    const turn = ++this.turn;
    this.chosen = chosen ? item : null;
    for (const button of this.days.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(button.dataset.day === item.day && button.dataset.book === item.book));
    this.title.textContent = dayName(item);
    this.badge.dataset.state = item.status;
    this.badge.textContent = `${MARKS[item.status]} ${words(item)}`;
    const counted = ["candles", "signals", "decisions", "fills"].filter((name) => name in item.counts)
      .map((name) => `${item.counts[name].toLocaleString("en-US")} ${name}`).join(", ");
    const partly = item.complete || item.status === "failed" ? "" : ` Up to ${format.time(item.reached)}; the day was not over.`;
    this.lines.replaceChildren(node("p", { className: "soft",
      textContent: item.status === "failed" ? item.error : `Compared: ${counted}.${partly}` }));
    const key = `${item.book} ${item.day}`;
    // What is listed belongs to the day that is named, or to none.
    if (this.listed !== key) this.list.replaceChildren();
    this.listed = key;
    if (!item.explained && !item.unexplained) { this.list.replaceChildren(); return; }
    const day = await get(`/parity/${encodeURIComponent(item.book)}/${item.day}`);
    if (turn !== this.turn) return;
    const rows = day.differences.slice(0, ROWS).map((difference) => [
      format.clock(difference.time),
      node("td", { className: "left" }, node("b", { textContent: difference.kind }), node("div", { className: "soft", textContent: difference.field ?? "" })),
      node("td", { className: "left wide" },
        node("span", { className: `tag ${difference.explained ? "warn" : "down"}`, textContent: difference.cause }),
        node("div", { className: "soft", textContent: difference.detail }),
        difference.field ? node("div", { className: "num values", textContent: `live ${difference.live ?? "–"} · backtest ${difference.reference ?? "–"}` }) : null),
    ]);
    table(this.list, "Differences between live and backtest", ["at", "what", "cause"], rows, "");
    const more = day.explained + day.unexplained - rows.length;
    if (more > 0) this.list.append(node("p", { className: "soft", textContent: `and ${more.toLocaleString("en-US")} more: /api/v1/parity/${item.book}/${item.day}` }));
  }
}

const worst = (items) => items.reduce((a, b) => (b.unexplained > a.unexplained || b.status === "failed" ? b : a));

function words(item) {
  if (item.status === "failed") return "not compared";
  if (item.unexplained) return `${item.unexplained.toLocaleString("en-US")} unexplained`;
  return item.explained ? `${item.explained.toLocaleString("en-US")} explained` : "identical";
}

// A day is a UTC day, whatever zone times are shown in.
function dayName(item) {
  return new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", weekday: "short", day: "2-digit", month: "short" }).format(Date.parse(item.day));
}
