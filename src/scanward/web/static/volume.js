"use strict";
// A CT in three planes of equal size, with its heat, its findings and lengths in mm over them. What is drawn, measured
// and said comes from the HU themselves.
(() => {
  const place = document.getElementById("viewer");
  const facts = JSON.parse(place.dataset.image);
  const field = (name) => document.getElementById(name);
  const note = (words) => { const line = field("viewer-note"); line.textContent = words; line.hidden = !words; };
  const state = { boxes: true, chosen: -1, measuring: false };
  const heat = { values: null, table: null };
  let lengths = []; // {plane, slice, from, to}: ends in voxels across and down the plane, broken
  let started = null; // the first end, of a length that is being measured

  // --- Over the planes --------------------------------------------------------------------------------------------
  const lengthOf = (plane, [u0, v0], [u1, v1]) => {
    const [across, down] = view.mm ? [view.mm[plane.across], view.mm[plane.down]] : [1, 1];
    const length = Math.hypot((u1 - u0) * across, (v1 - v0) * down);
    return view.mm ? `${length.toFixed(1)} mm` : `${length.toFixed(1)} voxels (spacing unknown)`;
  };
  const drawBox = (pen, plane, box, i) => {
    const [low, high] = [box.slice(0, 3), box.slice(3)];
    const slice = view.at[plane.through];
    if (slice < low[plane.through] || slice >= high[plane.through]) return;
    const [a, b] = [low, high].map((end) => view.onScreen(plane, [end[plane.across], end[plane.down]]));
    const colour = i === state.chosen ? "#ffe27a" : "#56b4e9";
    const corners = [a, [b[0], a[1]], b, [a[0], b[1]], a];
    view.line(pen, "#000", 4, ...corners);
    view.line(pen, colour, 2, ...corners);
    view.word(pen, String(i + 1), [Math.min(a[0], b[0]), Math.max(9, Math.min(a[1], b[1]) - 10)], colour, "#06202f");
  };
  const drawLength = (pen, plane, { from, to }) => {
    const ends = [from, to].map((end) => view.onScreen(plane, end));
    view.line(pen, "#000", 4, ...ends);
    view.line(pen, "#ffe27a", 2, ...ends);
    view.word(pen, lengthOf(plane, from, to), [ends[1][0] + 6, ends[1][1]], "#ffe27a", "#06202f");
  };
  const under = (pen, plane) => {
    if (!heat.table || !field("heat-on").checked) return;
    plane.hot ??= Object.assign(document.createElement("canvas"), { width: plane.width, height: plane.height });
    const [slice, { x, y, sx, sy }] = [view.at[plane.through], view.frame(plane)];
    if (plane.hotSlice !== slice || plane.hotTable !== heat.table) view.fill(plane, plane.hot, heat.values, heat.table, 0);
    [plane.hotSlice, plane.hotTable] = [slice, heat.table];
    pen.globalAlpha = Number(field("opacity").value) / 100;
    pen.drawImage(plane.hot, x, y, sx * plane.width, sy * plane.height);
    pen.globalAlpha = 1;
  };
  const over = (pen, plane) => {
    if (state.boxes) facts.findings.forEach((box, i) => { if (box.length === 6) drawBox(pen, plane, box, i); });
    const here = (one) => one.plane === plane.number && one.slice === view.at[plane.through];
    for (const one of started?.to ? [...lengths, started] : lengths) if (here(one)) drawLength(pen, plane, one);
  };

  // --- Lengths ----------------------------------------------------------------------------------------------------
  const list = () => {
    field("lengths").replaceChildren(...lengths.map((one) => {
      const made = document.createElement("li");
      made.textContent = `${lengthOf(view.planes[one.plane], one.from, one.to)}, ${view.planes[one.plane].name.toLowerCase()} ${one.slice + 1}`;
      return made;
    }));
    field("measured").hidden = !lengths.length;
    view.draw();
  };
  const keep = (plane, from, to) => {
    lengths.push({ plane: plane.number, slice: view.at[plane.through], from, to });
    kit.say(`Length ${lengthOf(plane, from, to)}.`);
    list();
  };
  const drag = (plane, from) => state.measuring && {
    move: (to) => { started = { plane: plane.number, slice: view.at[plane.through], from, to }; view.draw(); },
    end: (to) => keep(plane, from, to),
    over: () => { started = null; },
  };
  /** Enter marks the crosshair as an end. */
  const typed = (plane, event) => {
    if (event.key !== "Enter" || !state.measuring) return false;
    const here = [view.at[plane.across] + 0.5, view.at[plane.down] + 0.5];
    if (started?.plane === plane.number && started.slice === view.at[plane.through]) {
      const { from } = started;
      started = null;
      keep(plane, from, here);
    } else {
      started = { plane: plane.number, slice: view.at[plane.through], from: here };
      kit.say("The first end is marked; move the crosshair and press Enter for the other.");
    }
    return true;
  };
  const view = kit.planes(place, facts, { under, over, drag, typed, came: (z) => { if (z === view.at[2]) place.dataset.volume = "open"; } });

  // --- Start ------------------------------------------------------------------------------------------------------
  const pressed = (name) => document.querySelector(`[data-do=${name}]`);
  const toggle = (name, job) => {
    const button = pressed(name);
    const act = () => { const on = button.getAttribute("aria-pressed") !== "true"; button.setAttribute("aria-pressed", on); job(on); view.draw(); };
    button.addEventListener("click", act);
    return act;
  };
  const cross = toggle("cross", (on) => { view.state.cross = on; });
  const measure = toggle("measure", (on) => { state.measuring = on; started = null; place.classList.toggle("measuring", on); });
  pressed("fit").addEventListener("click", view.reset);
  field("clear").addEventListener("click", () => { lengths = []; list(); });
  for (const button of document.querySelectorAll("[data-finding]")) {
    button.addEventListener("click", () => {
      document.querySelector("[data-finding][aria-current]")?.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      state.chosen = Number(button.dataset.finding);
      const box = facts.findings[state.chosen];
      if (box.length === 6) view.go([0, 1, 2].map((axis) => (box[axis] + box[axis + 3] - 1) / 2));
      kit.say(`The three planes go through finding ${state.chosen + 1}.`);
    });
  }
  Object.assign(kit.keys, { 0: view.reset, x: cross, m: measure, b: () => { state.boxes = !state.boxes; view.draw(); } });

  const first = facts.findings[0];
  if (first?.length === 6) view.at.forEach((_, axis) => { view.at[axis] = Math.round((first[axis] + first[axis + 3] - 1) / 2); });
  try {
    view.start().whole.then(() => { place.dataset.volume = "whole"; },
      () => note("The volume cannot be shown; the study may be being scanned anew. Reload the page."));
  } catch {
    note("This browser has not the memory for the volume; use another, or the overview in the worklist.");
    return;
  }
  if (first?.length === 6) document.querySelector("[data-finding]").click();
  if (!facts.heat) return;
  const recolour = () => { heat.table = kit.heatTable(Number(field("threshold").value) / 100); view.draw(); };
  kit.heatControls(view.draw, recolour);
  kit.loadHeat(facts.base, facts.shape).then((values) => { heat.values = values; recolour(); place.dataset.heat = "shown"; },
    () => note("The heat cannot be shown; reload the page."));
})();
