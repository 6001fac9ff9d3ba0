"use strict";
// Chest CT in three planes, of which the axial one is the largest: paged, windowed, enlarged, and marked by voxels.
window.openDesk = ({ changed, make, press, trouble }) => {
  const by = (id) => document.getElementById(id);
  const RING_MM = 8;
  const MIDDLING = 3;
  const place = by("viewer");
  let [view, film, facts] = [null, null, null];
  let [chosen, marking] = [-1, false];

  // Marks: rings in every plane that passes near, dashed where it passes beside.
  const ring = (pen, plane, mark, number) => {
    const away = Math.abs(mark.at[plane.through] - view.at[plane.through]) * view.mm[plane.through];
    if (away > RING_MM) return;
    const [x, y] = view.onScreen(plane, [mark.at[plane.across] + 0.5, mark.at[plane.down] + 0.5]);
    const radius = RING_MM * view.frame(plane).sx / view.mm[plane.across];
    const colour = number === chosen ? "#ffe27a" : "#6cc1f5";
    pen.setLineDash(mark.at[plane.through] === view.at[plane.through] ? [] : [5, 4]);
    for (const [tone, width] of [["rgb(0 0 0 / .75)", 4.5], [colour, 2]]) {
      pen.strokeStyle = tone;
      pen.lineWidth = width;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.stroke();
    }
    pen.setLineDash([]);
    view.word(pen, `${number + 1}`, [x + radius + 2, y - radius], colour, "#06202f");
  };
  const choose = (number) => { chosen = number; view?.draw(); };
  const rate = (number, rating) => {
    film.marks[number].rating = Math.max(1, Math.min(5, rating));
    choose(number);
    kit.say(`Mark ${number + 1}: ${film.marks[number].rating} of 5`);
    changed();
  };
  const mark = () => {
    if (!view || film.marks.length >= 50) return;
    if (film.marks.some((one) => one.at.every((v, axis) => v === view.at[axis]))) return;
    film.marks.push({ shape: "point", at: [...view.at], rating: MIDDLING });
    choose(film.marks.length - 1);
    kit.say(`Mark ${film.marks.length} is set at ${named(film.marks.at(-1))}; [ and ] rate it`);
    changed();
  };
  const take = (number) => {
    if (number < 0) return;
    film.marks.splice(number, 1);
    choose(-1);
    changed();
  };
  const named = ({ at: [x, y, z] }) => `x ${x}, y ${y}, slice ${z + 1}`;
  const inMm = ({ at }) => facts.to_mm.map((row) => (row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3]).toFixed(0)).join(", ");

  const row = (_, one, number) => {
    const where = make("button", `${number + 1}  ${named(one)}`, { type: "button", class: "quiet s-where", "aria-label": `Show mark ${number + 1}, ${named(one)}` });
    if (facts) where.title = `${inMm(one)} mm`;
    press(where, () => { if (!view) return; choose(number); view.go(one.at); });
    const rates = make("span", "", { class: "s-rate", role: "radiogroup", "aria-label": `How suspicious is mark ${number + 1}?` });
    for (let rating = 1; rating <= 5; rating += 1) {
      const button = make("button", `${rating}`, { type: "button", role: "radio", "aria-checked": String(one.rating === rating) });
      press(button, () => rate(number, rating));
      rates.append(button);
    }
    return [where, rates];
  };

  const setMarking = (on) => { marking = on; by("mark").setAttribute("aria-pressed", String(on)); place.classList.toggle("measuring", on); };
  const hooks = { smooth: true, zooms: true, gap: 14, over: (pen, plane) => film.marks.forEach((one, number) => ring(pen, plane, one, number)), clicked: () => { if (marking) mark(); } };
  const active = () => view.planes[view.state.active];
  const enlarge = (factor) => () => { if (view) view.zoom(active(), factor); };
  const cross = () => {
    if (!view) return;
    view.state.cross = !view.state.cross;
    by("cross").setAttribute("aria-pressed", String(view.state.cross));
    view.draw();
  };
  const preset = () => { if (view) { view.showPreset((Number(by("window").value) + 1 || 0) % facts.windows.length); kit.say(by("window").selectedOptions[0].textContent); } };
  const typed = (event) => { if (view) view.typed(active(), event); };
  press(by("mark"), () => setMarking(!marking));
  press(by("cross"), cross);
  press(by("fit"), () => view?.fit());
  press(by("larger"), enlarge(1.3));
  press(by("smaller"), enlarge(1 / 1.3));
  const last = () => (chosen < 0 ? film.marks.length - 1 : chosen);
  const rated = (by) => () => { if (film.marks.length) rate(last(), film.marks[last()].rating + by); };
  Object.assign(kit.keys, {
    ArrowLeft: typed, ArrowRight: typed, ArrowUp: typed, ArrowDown: typed, PageUp: typed, PageDown: typed,
    "+": enlarge(1.2), "=": enlarge(1.2), "-": enlarge(1 / 1.2), 0: () => view?.fit(),
    m: mark, l: cross, w: preset, "[": rated(-1), "]": rated(1), Escape: () => setMarking(false),
  });

  return {
    none: "None. Click a place, then press m.",
    async show(next) {
      view?.close();
      [view, film, facts, chosen] = [null, next, null, -1];
      setMarking(false);
      place.dataset.volume = "loading";
      const found = await (await kit.load(`/film/${next.id}/facts`)).json();
      if (film !== next) return;
      facts = found;
      by("cross").setAttribute("aria-pressed", "true");
      view = kit.planes(place, facts, hooks);
      let volume;
      try {
        volume = view.start();
      } catch {
        view = null;
        trouble("This browser has not the memory for the scan; use another.");
        return;
      }
      await volume.whole;
      if (film === next) place.dataset.volume = "whole";
    },
    preload: () => {}, // two scans at once are more than many a browser holds
    row, take,
  };
};
