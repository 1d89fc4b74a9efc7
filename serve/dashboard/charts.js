// The two charts. The library draws UTC; labels go through our own formats, which know the chosen zone.

import { clock, day, price } from "./format.js";

// The page's own colours, of the scheme it is shown in.
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const LINES = 4;
export const at = (ms) => ms / 1000;

export function look() {
  return {
    autoSize: true,
    layout: { background: { color: "transparent" }, textColor: colour("soft"), fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { vertLines: { color: colour("raised") }, horzLines: { color: colour("raised") } },
    rightPriceScale: { borderColor: colour("line") },
    timeScale: {
      borderColor: colour("line"), timeVisible: true, secondsVisible: false, rightOffset: 4, minBarSpacing: 1.5,
      tickMarkFormatter: (seconds, kind) => (kind <= 2 ? day(seconds * 1000) : clock(seconds * 1000)),
    },
    localization: { timeFormatter: (seconds) => `${day(seconds * 1000)} ${clock(seconds * 1000)}`, priceFormatter: price },
    crosshair: { mode: 0 },
    handleScroll: { vertTouchDrag: false },
  };
}

// Candles with their volume below them.
export function candleSeries(chart) {
  const up = colour("candle-up"), down = colour("candle-down");
  const candles = chart.addCandlestickSeries({
    upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down,
  });
  candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.2 } });
  const volume = chart.addHistogramSeries({ priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
  return [candles, volume];
}

export class PriceChart {
  constructor(element, onHover) {
    this.chart = window.LightweightCharts.createChart(element, look());
    [this.candles, this.volume] = candleSeries(this.chart);
    this.lines = new Map();
    this.bars = new Map();
    this.chart.subscribeCrosshairMove((move) => onHover(move.time == null ? null : this.bars.get(move.time * 1000), move, this.lines));
  }

  reset(candles) {
    this.bars = new Map(candles.map((candle) => [candle.open_time, candle]));
    this.candles.setData(candles.map(bar));
    this.volume.setData(candles.map(volumeBar));
    for (const { series } of this.lines.values()) this.chart.removeSeries(series);
    this.lines.clear();
    this.candles.setMarkers([]);
    const shown = Math.min(candles.length, window.innerWidth < 600 ? 70 : 160);
    this.chart.timeScale().setVisibleLogicalRange({ from: candles.length - shown, to: candles.length + 4 });
  }

  // An update older than the newest bar is a repair: the library takes those only as a whole.
  update(candles) {
    const newest = Math.max(0, ...this.bars.keys());
    const repair = candles.some((candle) => candle.open_time < newest && differs(this.bars.get(candle.open_time), candle));
    for (const candle of candles) this.bars.set(candle.open_time, candle);
    if (repair) {
      const all = [...this.bars.values()].sort((a, b) => a.open_time - b.open_time);
      this.bars = new Map(all.map((candle) => [candle.open_time, candle]));
      this.candles.setData(all.map(bar));
      this.volume.setData(all.map(volumeBar));
      return;
    }
    for (const candle of candles) {
      if (candle.open_time >= newest) {
        this.candles.update(bar(candle));
        this.volume.update(volumeBar(candle));
      }
    }
  }

  features(values, replace) {
    const byName = Map.groupBy ? Map.groupBy(values, (item) => item.name) : group(values);
    for (const [name, items] of [...byName].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }))) {
      if (!this.lines.has(name)) {
        const number = this.lines.size % LINES;
        const series = this.chart.addLineSeries({ color: colour(`line-${number}`), lineWidth: 2, priceLineVisible: false, lastValueVisible: false, crosshairMarkerRadius: 3 });
        this.lines.set(name, { series, number, last: 0, value: null });
      }
      const line = this.lines.get(name);
      const points = items.map((item) => (item.value == null ? { time: at(item.open_time) } : { time: at(item.open_time), value: item.value }));
      if (replace) line.series.setData(points);
      else for (const point of points) if (point.time >= line.last) line.series.update(point);
      line.last = Math.max(line.last, points.at(-1).time);
      line.value = items.at(-1).value;
    }
  }

  markers(list) { this.candles.setMarkers(list); }
}

export class EquityChart {
  constructor(element) {
    const options = look();
    // The whole line must fit, however long it is.
    Object.assign(options.timeScale, { minBarSpacing: 0.02, rightOffset: 0 });
    this.chart = window.LightweightCharts.createChart(element, options);
    this.series = this.chart.addAreaSeries({ lineColor: colour("accent"), topColor: `${colour("accent")}40`, bottomColor: `${colour("accent")}05`, lineWidth: 2, priceLineVisible: false });
  }

  reset(points) {
    this.series.setData(points.map((point) => ({ time: at(point.time), value: Number(point.equity) })));
    this.chart.timeScale().fitContent();
  }

  // Where the account began: above it is gain, below it is loss, without reading a number.
  baseline(value) {
    if (this.line) this.series.removePriceLine(this.line);
    this.line = this.series.createPriceLine({ price: value, color: colour("faint"), lineStyle: 2, lineWidth: 1, axisLabelVisible: false, title: "start" });
  }

  redraw() { this.chart.applyOptions({ localization: look().localization }); }
}

// Shape says what it is as much as colour does.
export function marker(kind, openTime, text) {
  const looks = {
    buy: { position: "belowBar", shape: "arrowUp", color: colour("up") }, sell: { position: "aboveBar", shape: "arrowDown", color: colour("down") },
    decision: { position: "inBar", shape: "circle", color: colour("accent") }, held: { position: "aboveBar", shape: "square", color: colour("warn") },
  };
  return { time: at(openTime), text, size: kind === "decision" ? 0.6 : 1.2, ...looks[kind] };
}

export function bar(candle) {
  const shape = { time: at(candle.open_time), open: candle.open, high: candle.high, low: candle.low, close: candle.close };
  // A candle with unknown minutes is drawn hollow grey: there, but not to be trusted.
  return candle.complete === false && candle.closed !== false ? { ...shape, color: colour("ground"), borderColor: colour("soft"), wickColor: colour("soft") } : shape;
}

export const volumeBar = (candle) => ({ time: at(candle.open_time), value: candle.volume, color: `${colour(candle.close >= candle.open ? "candle-up" : "candle-down")}3d` });
const differs = (a, b) => !a || a.close !== b.close || a.high !== b.high || a.low !== b.low || a.open !== b.open;

function group(values) {
  const groups = new Map();
  for (const item of values) groups.set(item.name, [...(groups.get(item.name) ?? []), item]);
  return groups;
}
