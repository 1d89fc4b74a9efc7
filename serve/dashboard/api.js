// Talks to the server: JSON over HTTP, and one WebSocket that resumes where it stopped.

const KEY = "manta-token";
let askToken = async () => "";

export function onTokenNeeded(ask) { askToken = ask; }

// What the API refused, in its own words: `field` names the input, `fix` says what to do.
export class Refusal extends Error {
  constructor({ detail, field = null, fix = null }, status) {
    super(detail || `HTTP ${status}`);
    Object.assign(this, { field, fix, status });
  }
}

export const get = async (path, query = {}) => (await call("GET", path, query)).json();

export const text = async (path) => (await call("GET", path, {})).text();

export async function post(path, body) {
  const response = await call("POST", path, {}, body);
  return response.status === 204 ? null : response.json();
}

export const remove = (path, query = {}) => call("DELETE", path, query);

async function call(method, path, query, body) {
  const wanted = Object.entries(query).filter(([, value]) => value != null);
  const url = `/api/v1${path}${wanted.length ? "?" + new URLSearchParams(wanted) : ""}`;
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...(token ? { Authorization: `Bearer ${token}` } : {}), ...(body ? { "Content-Type": "application/json" } : {}) };
    const response = await fetch(url, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (response.status !== 401) throw new Refusal(problem, response.status);
    const given = await askToken(problem, token);
    if (given == null) throw new Refusal(problem, 401);
    sessionStorage.setItem(KEY, given);
  }
}

function protocols() {
  const token = sessionStorage.getItem(KEY);
  if (!token) return ["manta.v1"];
  const bytes = Array.from(new TextEncoder().encode(token), (byte) => String.fromCharCode(byte)).join("");
  return ["manta.v1", "bearer." + btoa(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")];
}

export function stream({ onEvent, onState, onReset }) {
  let seq = null, wait = 500, watchdog, socket;
  const open = () => {
    const url = new URL("/api/v1/stream", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (seq !== null) url.searchParams.set("after", seq);
    socket = new WebSocket(url, protocols());
    const here = socket;
    // The server speaks every 15 s; silence for 40 s is a dead line that the browser has not noticed.
    const alive = () => { clearTimeout(watchdog); watchdog = setTimeout(() => here.close(), 40_000); };
    here.onopen = alive;
    here.onmessage = (message) => {
      alive();
      const event = JSON.parse(message.data);
      if (event.kind === "hello") {
        const again = seq !== null;
        if (seq === null || event.reset) seq = event.resumed_after;
        wait = 500;
        onState("on");
        if (again) onReset();
        return;
      }
      if (event.seq != null) seq = event.seq;
      if (event.kind !== "heartbeat") onEvent(event);
    };
    here.onclose = () => {
      clearTimeout(watchdog);
      onState("off");
      setTimeout(open, wait * (0.5 + Math.random()));
      wait = Math.min(wait * 2, 15_000);
    };
  };
  open();
}
