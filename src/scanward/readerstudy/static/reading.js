"use strict";
// One part of a study: films or scans in order, an answer for each, every change saved before anything else is said.
// `openDesk`, of films.js or scans.js, shows them and marks on them.
(async () => {
  const by = (id) => document.getElementById(id);
  const trouble = (text) => { by("trouble").textContent = text; by("trouble").hidden = !text; };
  const got = await fetch("/api/part").catch(() => null);
  if (!got?.ok) { if (got) location.replace("/"); else trouble("The server does not answer; reload the page."); return; }
  const part = await got.json();
  const films = part.films;
  const named = part.noun[0].toUpperCase() + part.noun.slice(1);
  let at = Math.max(0, films.findIndex((film) => film.id === part.at));

  // Time in view: only while the page can be seen.
  let since = document.hidden ? null : performance.now(), seen = 0;
  const clock = () => { if (since !== null) { const now = performance.now(); seen += (now - since) / 1000; since = now; } };
  const takeTime = () => { clock(); const taken = seen; seen = 0; return Math.round(taken * 1000) / 1000; };

  // Saves go one after another, each tried until it is in. A later one never overtakes an earlier one. Each says from
  // which page it comes and what that page knew of the film, so that no other page's answer is undone.
  const opened = [...crypto.getRandomValues(new Uint8Array(12))].map((v) => v.toString(16).padStart(2, "0")).join("");
  const waiting = [];
  let turn = 0, refused = "", stale = false;
  let running = null;
  const snapshot = (film) => ({ answer: film.answer, confidence: film.confidence, marks: film.marks.map((m) => ({ ...m })), remark: film.remark,
    seconds: Math.min(takeTime(), 36000), save: `${opened}-${turn += 1}`, known: film.known });
  const put = (film, body, last = false) => fetch(`/api/film/${film.id}`, { method: "PUT", body: JSON.stringify(body), keepalive: last,
    headers: { "Content-Type": "application/json", "X-CSRF": kit.csrf } });
  const work = () => running ??= drain();
  async function drain() {
    by("saved").textContent = "Saving …";
    for (let pause = 500; waiting.length;) {
      const [film, body] = waiting[0];
      let answer = null;
      try { answer = await put(film, body); } catch { /* no server: tried again */ }
      if (answer?.ok) { waiting.shift(); trouble(refused); pause = 500; continue; }
      if (answer && answer.status < 500 && answer.status !== 429) {
        const words = await answer.json().then((o) => o.error).catch(() => "");
        if (answer.status === 409) {  // for good: what waits behind it is still to be saved
          waiting.shift();
          if (film.mine) refused = `${named} ${films.indexOf(film) + 1}: ${words}`; else stale = true;
          trouble(refused);
          continue;
        }
        trouble(answer.status === 403 ? "This page is out of date and your last answer is not saved; reload it." : words || "Your last answer is not saved; reload the page.");
        by("saved").textContent = "Not saved"; running = null; return;
      }
      trouble("Not saved yet: the server does not answer. Keep this page open; it tries again by itself.");
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(pause * 2, 8000);
    }
    if (stale && !refused) { location.reload(); return; }  // only looked at here: show what is kept
    by("saved").textContent = refused ? "Not saved" : "Saved";
    running = null;
  }
  const save = () => { waiting.push([films[at], snapshot(films[at])]); return work(); };
  document.addEventListener("visibilitychange", () => {
    clock();
    since = document.hidden ? null : performance.now();
  });
  addEventListener("pagehide", () => {
    for (const [film, body] of waiting) put(film, body, true).catch(() => {});
    put(films[at], snapshot(films[at]), true).catch(() => {});
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // What is on the page
  const make = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const press = (button, act) => button.addEventListener("click", () => { act(); button.blur(); });
  const desk = openDesk({ changed: () => changed(), make, press, trouble });
  const sureKeys = by("key-list").firstElementChild;
  for (const choice of part.choices) {
    const button = make("button", choice.label, { type: "button", role: "radio", "data-value": choice.value });
    button.append(make("kbd", choice.key));
    press(button, () => choose(choice.value));
    by("choices").append(button);
    kit.keys[choice.key] = () => choose(choice.value);
    const line = make("div", "");
    const term = make("dt", "");
    term.append(make("kbd", choice.key));
    line.append(term, make("dd", choice.label));
    by("key-list").insertBefore(line, sureKeys);
  }
  for (let level = 1; level <= 5; level++) {
    const button = make("button", `${level}`, { type: "button", role: "radio", "data-value": level });
    press(button, () => sure(level));
    by("sure").append(button);
    kit.keys[level] = () => sure(level);
  }
  films.forEach((film, number) => {
    const item = make("li", "");
    const button = make("button", `${number + 1}`, { type: "button" });
    press(button, () => go(number));
    item.append(button);
    by("all").append(item);
  });

  function refresh() {
    const film = films[at];
    const missing = films.filter((one) => one.answer === null).length;
    by("place").textContent = `${part.noun} ${at + 1} of ${films.length}` + (missing ? ` · ${missing} to answer` : " · all answered");
    for (const [list, value] of [["choices", film.answer], ["sure", film.confidence]])
      for (const button of by(list).children) button.setAttribute("aria-checked", String(button.dataset.value === String(value)));
    by("marks").replaceChildren(...film.marks.map((mark, number) => {
      const item = make("li", "");
      item.append(...desk.row(film, mark, number));
      const button = make("button", "Take away", { type: "button", class: "quiet", "aria-label": `Take mark ${number + 1} away` });
      button.addEventListener("click", () => desk.take(number));
      item.append(button);
      return item;
    }));
    if (!film.marks.length) by("marks").append(make("li", desk.none, { class: "none" }));
    [...by("all").children].forEach((item, number) => {
      const button = item.firstChild;
      button.classList.toggle("done", films[number].answer !== null);
      button.setAttribute("aria-label", `${named} ${number + 1}, ${films[number].answer ?? "no answer"}`);
      if (number === at) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    });
    by("back").disabled = at === 0;
    by("next").textContent = at < films.length - 1 ? "Next ›" : "Finish ›";
  }
  function changed() { films[at].mine = true; refresh(); save(); }
  function choose(value) { films[at].answer = value; kit.say(value); changed(); }
  function sure(level) { films[at].confidence = level; kit.say(`sure: ${level} of 5`); changed(); }

  async function go(number) {
    if (typing) keepRemark();
    if (number !== at) save();
    at = number;
    const film = films[at];
    by("remark").value = film.remark;
    const shown = desk.show(film);
    refresh();
    kit.say(`${named} ${at + 1} of ${films.length}`);
    save();
    try {
      await shown;
    } catch {
      if (films[at] === film) trouble(`The ${part.noun} could not be loaded; go to another and back, or reload the page.`);
    }
    if (at + 1 < films.length) desk.preload(films[at + 1]);
  }
  async function next() {
    if (at < films.length - 1) { go(at + 1); return; }
    if (typing) keepRemark();
    await save();
    if (!waiting.length && !refused) location.assign("/");
  }

  // Remarks are saved when typing pauses.
  let typing = null;
  function keepRemark() { clearTimeout(typing); typing = null; films[at].remark = by("remark").value; save(); }
  by("remark").addEventListener("input", () => { clearTimeout(typing); films[at].mine = true; films[at].remark = by("remark").value; typing = setTimeout(keepRemark, 400); });
  by("remark").addEventListener("blur", () => { if (typing) keepRemark(); });

  // What was clicked must not take Enter and the arrows from the film.
  for (const one of document.querySelectorAll(".s-bar input:not([type=number]), .s-all summary")) one.addEventListener("pointerup", () => setTimeout(() => one.blur()));
  press(by("next"), next);
  press(by("back"), () => { if (at) go(at - 1); });
  by("ask").addEventListener("submit", (event) => event.preventDefault());

  Object.assign(kit.keys, {
    Enter: next, Backspace: () => { if (at) go(at - 1); }, x: () => desk.take(films[at].marks.length - 1), c: () => by("remark").focus(),
  });
  go(at);
})();
