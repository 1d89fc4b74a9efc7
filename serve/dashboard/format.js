// Numbers and times as people read them. Nothing here touches the page.

let local = false;

export function useLocalTime(wanted) { local = wanted; }

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

export const tone = (value) => (Number(value) > 0 ? "up" : Number(value) < 0 ? "down" : "soft");

// Name and eight hex digits: the name is what a person chose.
export const instance = (id) => id.replace(/-[0-9a-f]{8}$/, "");
