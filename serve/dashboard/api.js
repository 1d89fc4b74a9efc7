// Talks to the server: JSON over HTTP, and one WebSocket that resumes where it stopped.

const KEY = "manta-token";
let askToken = async () => "";

export function onTokenNeeded(ask) { askToken = ask; }

export async function get(path, query = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value != null);
  const url = `/api/v1${path}${wanted.length ? "?" + new URLSearchParams(wanted) : ""}`;
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const response = await fetch(url, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store" });
    if (response.status === 401) {
      sessionStorage.setItem(KEY, await askToken());
      continue;
    }
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail || `HTTP ${response.status}`);
    return body;
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
