// Completeness as a calendar: a cell for each month or day, its colour and its text saying how much of it is there.

import * as format from "./format.js";
import { node } from "./tables.js";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];

// How bad a period is. What is absent at the venue is explained, and no fault.
export function level(item) {
  if (!item.present && !item.absent) return "none";
  if (!item.missing) return item.absent ? "explained" : "full";
  const share = item.missing / item.expected;
  return share < 0.001 ? "few" : share < 0.02 ? "some" : "many";
}

// The share that is present, never rounded up to a hundred: that is for what is whole.
export function percent(item) {
  if (item.present === item.expected) return "100";
  const share = (item.present / item.expected) * 100;
  return share > 99 ? (Math.floor(share * 100) / 100).toFixed(2) : share.toFixed(1);
}

export function words(item) {
  const parts = [`${item.present.toLocaleString("en-US")} of ${item.expected.toLocaleString("en-US")} minutes present`];
  if (item.absent) parts.push(`${item.absent.toLocaleString("en-US")} absent at the venue`);
  if (item.missing) parts.push(`${item.missing.toLocaleString("en-US")} missing`);
  return parts.join(", ");
}

export function monthName(period) {
  return `${MONTHS[Number(period.slice(5, 7)) - 1]} ${period.slice(0, 4)}`;
}

// Its name begins with what it shows, `seen`, as people who speak to their browser say that.
function cell(item, name, text, onChoose, seen = text) {
  return shaded(item, node("button", {
    type: "button", className: `cell ${level(item)}`, title: `${name}: ${words(item)}`, ariaLabel: `${seen}, ${name}: ${words(item)}`,
    textContent: text, data: { period: item.period }, onclick: () => onChoose(item),
  }));
}

// What is explained is the deeper the more of it there is: a tenth of a period is as deep as it gets.
function shaded(item, element) {
  if (level(item) === "explained") element.style.setProperty("--deep", `${Math.round(16 + 44 * Math.min(1, (item.absent / item.expected) * 10))}%`);
  return element;
}

// A small row of the newest months, one sliver each: for looking at many markets at once.
export function strip(items, count = 36) {
  return node("span", { className: "strip", ariaHidden: "true" }, ...items.slice(-count).map((item) =>
    shaded(item, node("i", { className: `cell ${level(item)}`, title: `${monthName(item.period)}: ${words(item)}` }))));
}

// A row for each year, newest first, and a column for each month.
export function years(items, onChoose) {
  const byPeriod = new Map(items.map((item) => [item.period, item]));
  const first = Number(items[0].period.slice(0, 4)), last = Number(items.at(-1).period.slice(0, 4));
  const rows = [];
  for (let year = last; year >= first; year -= 1) {
    rows.push(node("span", { className: "year num", textContent: String(year) }));
    for (let month = 1; month <= 12; month += 1) {
      const item = byPeriod.get(`${year}-${String(month).padStart(2, "0")}`);
      rows.push(item ? cell(item, monthName(item.period), percent(item), onChoose) : node("span", { className: "cell blank" }));
    }
  }
  return node("div", { className: "years num" }, node("span"), ...MONTHS.map((name) => node("span", { className: "head-cell", textContent: name })), ...rows);
}

// The weeks of one month, Monday first.
export function days(items, onChoose) {
  const [year, month] = items[0].period.split("-").map(Number);
  const byPeriod = new Map(items.map((item) => [item.period, item]));
  const lead = (new Date(Date.UTC(year, month - 1, 1)).getUTCDay() + 6) % 7, count = new Date(Date.UTC(year, month, 0)).getUTCDate();
  const cells = WEEKDAYS.map((name) => node("span", { className: "head-cell", textContent: name }));
  for (let empty = 0; empty < lead; empty += 1) cells.push(node("span"));
  for (let number = 1; number <= count; number += 1) {
    const period = `${items[0].period.slice(0, 7)}-${String(number).padStart(2, "0")}`, item = byPeriod.get(period);
    if (!item) { cells.push(node("span", { className: "cell blank", textContent: String(number) })); continue; }
    const lacking = item.missing ? `−${short(item.missing)}` : item.absent ? `(${short(item.absent)})` : "";
    const shown = cell(item, format.date(Date.parse(period)), "", onChoose, [number, lacking].filter(Boolean).join(" "));
    shown.append(node("b", { textContent: String(number) }), " ", node("small", { textContent: lacking }));
    cells.push(shown);
  }
  return node("div", { className: "month num" }, ...cells);
}

const short = (count) => (count < 1000 ? String(count) : `${(count / 1000).toFixed(1)}k`);
