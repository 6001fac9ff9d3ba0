"use strict";
// Moving through the list by keys; the row that has the focus is the one that Enter opens.
(() => {
  const links = [...document.querySelectorAll(".studies a.open")];
  const step = (by) => {
    if (!links.length) return;
    const here = links.indexOf(document.activeElement?.closest("tr")?.querySelector("a.open"));
    const next = here < 0 ? 0 : Math.max(0, Math.min(links.length - 1, here + by));
    links[next].focus();
    links[next].closest("tr").scrollIntoView({ block: "nearest" });
  };
  Object.assign(kit.keys, {
    j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
    Enter: () => (document.activeElement?.closest("tr")?.querySelector("a.open") ?? links[0])?.click(),
    "]": () => document.querySelector("a[rel=next]")?.click(),
    "[": () => document.querySelector("a[rel=prev]")?.click(),
    "/": () => document.querySelector(".filters [name=q]")?.focus(),
  });
  // The whole row is a target for the pointer; keys and screen readers have the link.
  for (const link of links) {
    link.closest("tr").addEventListener("click", (event) => {
      if (!event.target.closest("a") && !getSelection().toString()) link.click();
    });
  }
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("/api/counts");
      if (!answer.ok) return;
      for (const [name, number] of Object.entries(await answer.json())) {
        const place = document.querySelector(`[data-count="${CSS.escape(name)}"]`);
        if (place) place.textContent = number;
      }
    } catch { /* the server is being restarted; the next try will do */ }
  };
  setInterval(refresh, 15000);
})();
