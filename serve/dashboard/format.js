// Numbers and times as people read them. Nothing here touches the page.

let local = false;

export function useLocalTime(wanted) { local = wanted; }

export const isLocal = () => local;

const zone = () => (local ? undefined : "UTC");

export function time(ms, withSeconds = false) {
  if (ms == null) return "–";
  return new Intl.DateTimeFormat("en-GB", {
    timeZone: zone(), day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit",
    ...(withSeconds ? { second: "2-digit" } : {}), hourCycle: "h23",
  }).format(ms);
}

export function clock(ms) {
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone(), hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(ms);
}

export function day(ms) {
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone(), day: "2-digit", month: "short" }).format(ms);
}

// With the year, and the time of day if it matters.
export function date(ms, withTime = false) {
  return new Intl.DateTimeFormat("en-GB", {
    timeZone: zone(), day: "2-digit", month: "short", year: "numeric",
    ...(withTime ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : {}),
  }).format(ms);
}

// A length of time by its largest units: 42 min, 3 h 10 min, 2 d 4 h.
export function minutes(count) {
  const whole = Math.round(count), [days, hours, rest] = [Math.floor(whole / 1440), Math.floor(whole / 60) % 24, whole % 60];
  if (whole < 60) return `${whole} min`;
  return days ? `${days} d${hours ? ` ${hours} h` : ""}` : `${hours} h${rest ? ` ${rest} min` : ""}`;
}

// A plain hyphen is narrower than a digit and jumps; the minus sign does not.
const sign = (text) => text.replace("-", "−");

export function price(value) {
  if (value == null || value === "") return "–";
  const n = Number(value);
  const digits = Math.abs(n) >= 1000 ? 2 : Math.abs(n) >= 1 ? 4 : 6;
  return sign(n.toLocaleString("en-US", { minimumFractionDigits: Math.min(2, digits), maximumFractionDigits: digits }));
}

export function amount(value, digits = 5) {
  if (value == null || value === "") return "–";
  return sign(Number(value).toLocaleString("en-US", { maximumFractionDigits: digits }));
}

export function compact(value) {
  return value == null ? "–" : Number(value).toLocaleString("en-US", { notation: "compact", maximumFractionDigits: 2 });
}

export function signed(value, digits = 2) {
  if (value == null || value === "") return "–";
  const n = Number(value);
  const text = Math.abs(n).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return (n > 0 ? "+" : n < 0 ? "−" : "") + text;
}

// A share of one, as a percentage; `plus`: a gain is marked as one.
export function percent(value, plus = true) {
  if (value == null) return "–";
  const text = `${(Math.abs(value) * 100).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })} %`;
  return (value < 0 ? "−" : plus && value > 0 ? "+" : "") + text;
}

export const ratio = (value) => (value == null ? "–" : sign(Number(value).toFixed(2)));

// Parameters as people write them: fast 9, slow 21.
export const params = (values) => Object.entries(values ?? {}).map(([name, value]) => `${name} ${typeof value === "number" ? amount(value, 8) : value}`).join(", ");

export const tone = (value) => (Number(value) > 0 ? "up" : Number(value) < 0 ? "down" : "soft");

// Name and eight hex digits: the name is what a person chose.
export const instance = (id) => id.replace(/-[0-9a-f]{8}$/, "");

// Why a market of /health is not fresh: what was told of it, or that its newest minute is old; "" when it is fresh.
export function staleness(market) {
  if (market.stale) return market.stale;
  if (market.age_s == null) return "no closed minute yet";
  return market.age_s > 120 ? `no closed minute since ${date(market.last_close, true)}` : "";
}
