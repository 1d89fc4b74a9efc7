// What is painted behind the candles: bands where minutes are not there, and the zones of price gaps.

import { colour } from "./charts.js";
import { placeOf } from "./history.js";

// A drawing of the charting library, called with the pixels of the screen at each repaint.
class Painting {
  attached({ chart, series, requestUpdate }) { Object.assign(this, { chart, series, repaint: requestUpdate }); }
  detached() { this.chart = null; }
  updateAllViews() {}
  paneViews() {
    const renderer = { draw: (target) => target.useBitmapCoordinateSpace((scope) => this.chart && this.paint(scope)) };
    return [{ zOrder: () => "bottom", renderer: () => renderer }];
  }
  // The middle of a place, and half the room each takes: the library knows coordinates of whole places only.
  x(place) { return this.chart.timeScale().logicalToCoordinate(place); }
  get half() { return this.chart.timeScale().options().barSpacing / 2; }
}

export class HoleBands extends Painting {
  constructor() { super(); this.bands = []; this.chosen = null; }

  // `bands`: {first, last, label, explained}, first and last being places among the points.
  set(bands, chosen) { Object.assign(this, { bands, chosen }); this.repaint?.(); }

  paint({ context, bitmapSize, horizontalPixelRatio: across, verticalPixelRatio: down }) {
    for (const band of this.bands) {
      const left = (this.x(band.first) - this.half) * across, right = (this.x(band.last) + this.half) * across;
      if (right < 0 || left > bitmapSize.width) continue;
      const tone = colour(band.explained ? "accent" : "down"), width = Math.max(right - left, 2 * across);
      const height = bitmapSize.height;
      context.save();
      context.beginPath();
      context.rect(left, 0, width, height);
      context.clip();
      context.fillStyle = `${tone}1f`;
      context.fillRect(left, 0, width, height);
      context.strokeStyle = `${tone}44`;
      context.lineWidth = across;
      context.beginPath();
      // Hatched, so that it does not need its colour to be seen as nothing.
      for (let at = left - height; at < left + width; at += 9 * across) { context.moveTo(at, height); context.lineTo(at + height, 0); }
      context.stroke();
      context.restore();
      if (band === this.chosen) {
        context.strokeStyle = tone;
        context.lineWidth = 2 * across;
        context.strokeRect(left, across, width, height - 2 * across);
      }
      if (band === this.chosen || width > 60 * across) this.label(context, band, left, width, tone, across, down, bitmapSize);
    }
  }

  label(context, band, left, width, tone, across, down, bitmapSize) {
    context.font = `600 ${11 * down}px ${getComputedStyle(document.body).fontFamily}`;
    const wide = context.measureText(band.label).width + 12 * across;
    const x = Math.max(2, Math.min(left + width / 2 - wide / 2, bitmapSize.width - wide - 2));
    context.fillStyle = colour("panel");
    context.fillRect(x, 6 * down, wide, 18 * down);
    context.strokeStyle = tone;
    context.lineWidth = across;
    context.strokeRect(x, 6 * down, wide, 18 * down);
    context.fillStyle = tone;
    context.textBaseline = "middle";
    context.fillText(band.label, x + 6 * across, 15.5 * down);
  }
}

export class GapZones extends Painting {
  constructor() { super(); this.zones = []; this.points = []; }

  set(zones, points) { Object.assign(this, { zones, points }); this.repaint?.(); }

  paint({ context, bitmapSize, horizontalPixelRatio: across, verticalPixelRatio: down }) {
    const first = this.points[0]?.open_time ?? Infinity;
    for (const zone of this.zones) {
      if (zone.closed_time_ms != null && zone.closed_time_ms < first) continue;
      const begin = placeOf(this.points, zone.start_time_ms), end = zone.closed_time_ms == null ? null : placeOf(this.points, zone.closed_time_ms);
      const left = begin < 0 ? 0 : (this.x(Math.max(0, begin - 1)) - this.half) * across;
      const right = end == null ? bitmapSize.width : this.x(end) * across;
      const top = this.series.priceToCoordinate(zone.high) * down, bottom = this.series.priceToCoordinate(zone.low) * down;
      if (right < 0 || left > bitmapSize.width || right <= left) continue;
      const tone = colour(zone.type === "up" ? "candle-up" : "candle-down"), open = zone.status !== "filled";
      context.fillStyle = tone + (open ? "38" : "1a");
      context.fillRect(left, top, right - left, Math.max(bottom - top, down));
      context.strokeStyle = tone + (open ? "cc" : "66");
      context.lineWidth = across;
      context.setLineDash(open ? [] : [3 * across, 3 * across]);
      context.strokeRect(left, top, right - left, Math.max(bottom - top, down));
      context.setLineDash([]);
    }
  }
}
