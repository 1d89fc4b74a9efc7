// The report of a run as the API writes it, fetched with the token, which a plain link could not send. Nothing in it runs:
// its text is parsed, its style is adopted, and the policy of every page of ours allows no script within one.

import { text } from "./api.js";
import { refusal } from "./dialogs.js";
import { login } from "./login.js";
import { node } from "./tables.js";

const asked = new URLSearchParams(location.search);
const KINDS = {
  run: { path: "/backtests", href: "/dashboard/backtests", name: "Backtests" }, sweep: { path: "/sweeps", href: "/dashboard/sweeps", name: "Sweeps" },
  walkforward: { path: "/walkforwards", href: "/dashboard/backtests", name: "Backtests" },
};
const name = Object.keys(KINDS).find((each) => asked.has(each)) ?? "run";
const kind = KINDS[name], run = asked.get(name) ?? "";

async function start() {
  document.body.append(login());
  const page = await text(`${kind.path}/${encodeURIComponent(run)}/report`);
  // Its only style comes first: an element of it would be refused, and said so, before it could be read.
  const [whole, style] = page.match(/<style>(.*?)<\/style>/s);
  const made = new DOMParser().parseFromString(page.replace(whole, ""), "text/html");
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  document.adoptedStyleSheets = [sheet];
  document.title = made.title;
  document.body.replaceChildren(back(), ...document.importNode(made.body, true).childNodes);
}

const back = () => node("p", {}, node("a", { href: kind.href, textContent: `← ${kind.name}` }));

start().catch((error) => document.body.replaceChildren(back(), node("p", { role: "alert", textContent: refusal(error) })));
