// The two charts. The library draws UTC; labels go through our own formats, which know the chosen zone.

import { clock, day, price } from "./format.js";

const COLOURS = ["#f2b84b", "#b79cff", "#4cc2ff", "#ff9ecb"];
const UP = "#2fc08d", DOWN = "#ff6b6b", ACCENT = "#4cc2ff", WARN = "#f2b84b";
const at = (ms) => ms / 1000;

function look() {
  return {
    autoSize: true,
    layout: { background: { color: "transparent" }, textColor: "#8fa2b3", fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { vertLines: { color: "#18232e" }, horzLines: { color: "#18232e" } },
    rightPriceScale: { borderColor: "#22303d" },
    timeScale: {
      borderColor: "#22303d", timeVisible: true, secondsVisible: false, rightOffset: 4, minBarSpacing: 1.5,
      tickMarkFormatter: (seconds, kind) => (kind <= 2 ? day(seconds * 1000) : clock(seconds * 1000)),
    },
    localization: { timeFormatter: (seconds) => `${day(seconds * 1000)} ${clock(seconds * 1000)}`, priceFormatter: price },
    crosshair: { mode: 0 },
    handleScroll: { vertTouchDrag: false },
  };
}

export class PriceChart {
  constructor(element, onHover) {
    this.chart = window.LightweightCharts.createChart(element, look());
    this.candles = this.chart.addCandlestickSeries({
      upColor: UP, downColor: DOWN, borderUpColor: UP, borderDownColor: DOWN, wickUpColor: UP, wickDownColor: DOWN,
    });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0.2 } });
    this.volume = this.chart.addHistogramSeries({ priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
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
        const number = this.lines.size % COLOURS.length;
        const series = this.chart.addLineSeries({ color: COLOURS[number], lineWidth: 2, priceLineVisible: false, lastValueVisible: false, crosshairMarkerRadius: 3 });
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
    this.series = this.chart.addAreaSeries({ lineColor: ACCENT, topColor: "#4cc2ff40", bottomColor: "#4cc2ff05", lineWidth: 2, priceLineVisible: false });
  }

  reset(points) {
    this.series.setData(points.map((point) => ({ time: at(point.time), value: Number(point.equity) })));
    this.chart.timeScale().fitContent();
  }

  // Where the account began: above it is gain, below it is loss, without reading a number.
  baseline(value) {
    if (this.line) this.series.removePriceLine(this.line);
    this.line = this.series.createPriceLine({ price: value, color: "#7b8fa1", lineStyle: 2, lineWidth: 1, axisLabelVisible: false, title: "start" });
  }

  redraw() { this.chart.applyOptions({ localization: look().localization }); }
}

// Shape says what it is as much as colour does.
export function marker(kind, openTime, text) {
  const looks = {
    buy: { position: "belowBar", shape: "arrowUp", color: UP }, sell: { position: "aboveBar", shape: "arrowDown", color: DOWN },
    decision: { position: "inBar", shape: "circle", color: ACCENT }, held: { position: "aboveBar", shape: "square", color: WARN },
  };
  return { time: at(openTime), text, size: kind === "decision" ? 0.6 : 1.2, ...looks[kind] };
}

function bar(candle) {
  const shape = { time: at(candle.open_time), open: candle.open, high: candle.high, low: candle.low, close: candle.close };
  // A candle with unknown minutes is drawn hollow grey: there, but not to be trusted.
  return candle.complete === false && candle.closed !== false ? { ...shape, color: "#0b1016", borderColor: "#8fa2b3", wickColor: "#8fa2b3" } : shape;
}

const volumeBar = (candle) => ({ time: at(candle.open_time), value: candle.volume, color: candle.close >= candle.open ? "#2fc08d3d" : "#ff6b6b3d" });
const differs = (a, b) => !a || a.close !== b.close || a.high !== b.high || a.low !== b.low || a.open !== b.open;

function group(values) {
  const groups = new Map();
  for (const item of values) groups.set(item.name, [...(groups.get(item.name) ?? []), item]);
  return groups;
}
