// Questions and details over the page. When one is closed the keyboard is where it was, also when that was drawn anew.

import { node } from "./tables.js";

function open(title, className, ...parts) {
  const opener = document.activeElement, key = opener?.dataset.key;
  const dialog = node("dialog", { className }, node("h2", { id: "dialog-title", textContent: title }), ...parts);
  dialog.setAttribute("aria-labelledby", "dialog-title");
  document.body.append(dialog);
  dialog.onclose = () => {
    dialog.remove();
    if (key && !opener.isConnected) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  };
  dialog.showModal();
  return dialog;
}

// Details, with a button to close them.
export function show(title, ...parts) {
  const close = node("button", { type: "button", textContent: "Close", onclick: () => dialog.close() });
  const dialog = open(title, "wide", ...parts, node("div", { className: "buttons" }, close));
  close.focus();
}

// Runs `act` when it is said yes to, and `then` once the question is gone; what the API refuses is shown and can be tried again.
export function confirmed(title, text, verb, act, then) {
  const refused = node("p", { className: "refused", role: "alert" });
  const no = node("button", { type: "button", textContent: "Cancel", onclick: () => dialog.close() });
  const yes = node("button", { type: "button", className: "danger", textContent: verb, onclick: async () => {
    yes.disabled = true;
    try { await act(); dialog.close("done"); } catch (error) { refused.textContent = refusal(error); yes.disabled = false; }
  } });
  const dialog = open(title, "", node("p", { textContent: text }), refused, node("div", { className: "buttons" }, no, yes));
  dialog.addEventListener("close", () => { if (dialog.returnValue === "done") then(); });
  no.focus();
}

// An error as the API says it, and what it says to do.
export const refusal = (error) => [error.message, error.fix].filter(Boolean).join(" ");
