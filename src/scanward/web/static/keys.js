"use strict";
// Keys that every page has, and a table for those that only some have. Loaded first, so `kit` is there for others.
window.kit = {
  /** key (as KeyboardEvent.key) -> function; typing in a field is never taken for a command. */
  keys: {},
  csrf: document.querySelector("meta[name=csrf]")?.content ?? "",
  /** Tell people who listen to the page what has changed. */
  say(text) {
    const line = document.getElementById("said");
    if (line) line.textContent = text;
  },
  /** POST an object as JSON; the answer's object. Throws an Error whose message is for the user. */
  async post(address, data) {
    let answer;
    try {
      answer = await fetch(address, {
        method: "POST", body: JSON.stringify(data), credentials: "same-origin",
        headers: { "Content-Type": "application/json", "X-CSRF": kit.csrf },
      });
    } catch {
      throw new Error("The server does not answer; nothing was saved. Try again.");
    }
    if (answer.ok) return answer.json();
    let words = "";
    try { words = (await answer.json()).error; } catch { /* it was no JSON */ }
    if (answer.status === 401) words = "Your session has ended; sign in again in another tab, then save again.";
    throw new Error(words || `Nothing was saved (error ${answer.status}); reload the page and try again.`);
  },
};

(() => {
  const dialog = document.getElementById("keys");
  const show = () => { if (dialog && !dialog.open) dialog.showModal(); };
  kit.keys["?"] = show;
  document.querySelector("[data-keys]")?.addEventListener("click", show);
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest?.("textarea, select, input:not([type=range], [type=checkbox], [type=radio])");
    if (event.key === "Escape" && field) { field.blur(); return; }
    if (field || dialog?.open || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const action = kit.keys[event.key];
    if (!action) return;
    // Sliders move with the arrows, and buttons and links are pressed with Enter and Space.
    const own = event.key.startsWith("Arrow") ? "input, [role=slider]" : "button, a, summary, input";
    if ((event.key.startsWith("Arrow") || event.key === "Enter" || event.key === " ") && event.target.closest?.(own)) return;
    event.preventDefault();
    action(event);
  });
})();
