// Candles of one market and interval, as far back as they go: a page is loaded whenever the view comes near its edge.

import { get } from "./api.js";

const PAGE = 1500, EMPTY_SLOTS = 240;

export class Past {
  constructor(query) {
    Object.assign(this, { query, bars: [], cursor: null, upto: null, atStart: false, atEnd: true });
  }

  // The newest page, or the one that has `around` in its middle.
  async begin(around) {
    const width = around == null ? null : await this.width();
    this.upto = width ? Math.round(around + width * PAGE / 2) : null;
    const page = await get("/candles", { ...this.query, limit: PAGE, to: this.upto });
    this.atEnd = this.upto == null;
    this.bars = page.items;
    this.cursor = page.next_cursor;
    this.atStart = !page.next_cursor;
    // Nothing so early: begin with the first there is.
    if (!this.bars.length && this.upto != null) {
      this.bars = (await get("/candles", { ...this.query, limit: PAGE, from: 0 })).items;
    }
  }

  async older() {
    if (this.atStart || !this.cursor) return 0;
    const page = await get("/candles", { ...this.query, limit: PAGE, to: this.upto, cursor: this.cursor });
    this.cursor = page.next_cursor;
    this.atStart = !page.next_cursor;
    this.bars = [...page.items, ...this.bars];
    return page.items.length;
  }

  // What follows the newest bar: the rest of a past that began in the middle, or what has closed since.
  async newer() {
    const last = this.bars.at(-1);
    const page = await get("/candles", { ...this.query, limit: PAGE, from: last ? last.close_time : 0 });
    this.atEnd = !page.next_cursor;
    this.bars.push(...page.items);
    return page.items.length;
  }

  async width() {
    const page = await get("/candles", { ...this.query, limit: 1 });
    const bar = page.items[0];
    return bar ? bar.close_time - bar.open_time : null;
  }

  // The bars with empty slots where candles are not there, so that time goes on; a long hole gets fewer slots than candles.
  points() {
    const points = [], voids = [];
    this.bars.forEach((bar, number) => {
      const before = this.bars[number - 1];
      const gap = before ? bar.open_time - before.close_time : 0;
      if (gap > 0) {
        const width = before.close_time - before.open_time;
        const slots = Math.min(EMPTY_SLOTS, Math.max(1, Math.round(gap / width)));
        const stride = Math.max(1, Math.floor(gap / width / slots)) * width;
        voids.push({ from: before.close_time, to: bar.open_time, first: points.length, last: points.length + slots - 1 });
        for (let slot = 0; slot < slots; slot += 1) points.push({ open_time: before.close_time + slot * stride });
      }
      points.push(bar);
    });
    return { points, voids };
  }
}

// The place among `points` of what was open at `ms`: that of the last one that opened at or before it, -1 when none had.
export function placeOf(points, ms) {
  let low = 0, high = points.length - 1, found = -1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (points[middle].open_time <= ms) { found = middle; low = middle + 1; } else high = middle - 1;
  }
  return found;
}
