// Asks for the API token.

import { onTokenNeeded } from "./api.js";
import { node } from "./tables.js";

// The dialog for a page to hold; calls that need the token open it.
export function login() {
  const token = node("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
  const why = node("p", { id: "login-why", className: "warn", role: "alert" });
  const form = node("form", { method: "dialog", id: "login-form" },
    node("h2", { id: "login-title", textContent: "API token" }), why,
    node("p", {}, "Manta asks for ", node("code", { textContent: "MANTA_API_TOKEN" }), " before anything is changed, and before anything is shown beyond this machine. ",
      node("code", { textContent: "./run up" }), " keeps it in ", node("code", { textContent: "var/secrets/api_token" }), ". It is kept until this tab closes."),
    node("label", {}, "Token ", token),
    node("div", { className: "buttons" }, node("button", { type: "button", textContent: "Cancel", onclick: () => dialog.close() }), node("button", { type: "submit", className: "main", textContent: "Open" })));
  const dialog = node("dialog", { id: "login" }, form);
  dialog.setAttribute("aria-labelledby", "login-title");
  // One question for all calls that wait for it; null when it is not answered.
  let asking = null;
  onTokenNeeded((problem, refused) => asking ??= new Promise((resolve) => {
    why.textContent = refused ? "That is not the token. Try again." : [problem.detail, problem.fix].filter(Boolean).join(" ");
    let given = null;
    form.onsubmit = () => { given = token.value; };
    dialog.onclose = () => { token.value = ""; asking = null; resolve(given); };
    dialog.showModal();
    token.focus();
  }));
  return dialog;
}
