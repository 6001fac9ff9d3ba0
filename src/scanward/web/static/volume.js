"use strict";
// A CT in three planes of equal size. What is drawn, measured and said comes from the HU themselves.
(() => {
  const place = document.getElementById("viewer");
  const facts = JSON.parse(place.dataset.image);
  const field = (name) => document.getElementById(name);
  const note = (words) => { const line = field("viewer-note"); line.textContent = words; line.hidden = !words; };
  const sizes = [...facts.shape].reverse(); // of the axes x, y, z
  const steps = [1, sizes[0], sizes[0] * sizes[1]]; // from a voxel to the next along each
  const mm = facts.spacing ? [...facts.spacing].reverse() : null;
  const HU_A_PIXEL = 2;
  const MOVED = 3; // pixels from which a press is a drag

  const at = sizes.map((size) => Math.floor(size / 2)); // the crosshair's voxel, (x, y, z)
  const state = { low: facts.windows[0][1], high: facts.windows[0][2], cross: true, boxes: true, chosen: -1, measuring: false };
  const heat = { values: null, table: null };
  let lengths = []; // {plane, slice, from, to}: ends in voxels across and down the plane, broken
  let started = null; // the first end, of a length that is being measured

  // --- Planes: from voxels to the screen and back -----------------------------------------------------------------
  const planes = facts.planes.map((plane, number) => {
    const figure = place.querySelector(`[data-plane="${number}"]`);
    const [width, height] = [sizes[plane.across], sizes[plane.down]];
    const made = {
      ...plane, number, figure, width, height, canvas: figure.querySelector("canvas"), slider: figure.querySelector("input"),
      said: figure.querySelector("output"), stale: true, staleHeat: true,
      grey: Object.assign(document.createElement("canvas"), { width, height }),
      hot: Object.assign(document.createElement("canvas"), { width, height }),
    };
    made.slider.max = sizes[plane.through];
    return made;
  });
  /** Where the plane lies on its canvas, in CSS pixels, and pixels a voxel across and down. */
  const frame = (plane) => {
    const [wide, high] = [plane.canvas.clientWidth, plane.canvas.clientHeight];
    const [across, down] = mm ? [mm[plane.across], mm[plane.down]] : [1, 1];
    const scale = Math.min(wide / (plane.width * across), high / (plane.height * down));
    const [sx, sy] = [scale * across, scale * down];
    return { x: (wide - sx * plane.width) / 2, y: (high - sy * plane.height) / 2, sx, sy };
  };
  const turned = (plane, i, value) => (plane.turned[i] ? [plane.width, plane.height][i] - value : value);
  /** Voxels across and down, broken, to the canvas; and back. */
  const onScreen = (plane, [u, v]) => {
    const { x, y, sx, sy } = frame(plane);
    return [x + sx * turned(plane, 0, u), y + sy * turned(plane, 1, v)];
  };
  const inPlane = (plane, event) => {
    const [box, { x, y, sx, sy }] = [plane.canvas.getBoundingClientRect(), frame(plane)];
    return [turned(plane, 0, (event.clientX - box.left - x) / sx), turned(plane, 1, (event.clientY - box.top - y) / sy)];
  };
  const inside = (plane, [u, v]) => u >= 0 && v >= 0 && u < plane.width && v < plane.height;
  const voxelOf = (plane, [u, v]) => {
    const voxel = [...at];
    [voxel[plane.across], voxel[plane.down]] = [Math.floor(u), Math.floor(v)];
    return voxel;
  };
  const lengthOf = (plane, [u0, v0], [u1, v1]) => {
    const [across, down] = mm ? [mm[plane.across], mm[plane.down]] : [1, 1];
    const length = Math.hypot((u1 - u0) * across, (v1 - v0) * down);
    return mm ? `${length.toFixed(1)} mm` : `${length.toFixed(1)} voxels (spacing unknown)`;
  };

  // --- Pictures of the planes -------------------------------------------------------------------------------------
  const greys = new Uint32Array(65536); // of each int16 from the lowest
  const fill = (plane, canvas, values, colours, lowest) => {
    const image = new ImageData(plane.width, plane.height);
    const words = new Uint32Array(image.data.buffer); // little-endian RGBA
    const [du, dv] = [steps[plane.across], steps[plane.down]];
    const first = at[plane.through] * steps[plane.through];
    let i = 0;
    for (let row = 0; row < plane.height; row += 1) {
      const v = plane.turned[1] ? plane.height - 1 - row : row;
      const start = first + v * dv + (plane.turned[0] ? (plane.width - 1) * du : 0);
      const step = plane.turned[0] ? -du : du;
      for (let column = 0, index = start; column < plane.width; column += 1, index += step) { words[i] = colours[values[index] - lowest]; i += 1; }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  };
  const setGreys = () => {
    for (let i = 0; i < greys.length; i += 1) {
      const tone = Math.round(Math.max(0, Math.min(255, 255 * (i - 32768 - state.low) / (state.high - state.low))));
      greys[i] = (0xff000000 | (tone << 16) | (tone << 8) | tone) >>> 0;
    }
  };
  const line = (pen, colour, width, ...points) => {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  };
  const word = (pen, text, [x, y], colour, tone) => {
    pen.font = "600 13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const wide = pen.measureText(text).width + 8;
    const left = Math.max(0, Math.min(x, pen.canvas.clientWidth - wide));
    pen.fillStyle = colour;
    pen.fillRect(left, y - 9, wide, 18);
    pen.fillStyle = tone;
    pen.fillText(text, left + 4, y);
  };
  const drawBox = (pen, plane, box, i) => {
    const [low, high] = [box.slice(0, 3), box.slice(3)];
    if (at[plane.through] < low[plane.through] || at[plane.through] >= high[plane.through]) return;
    const [a, b] = [low, high].map((end) => onScreen(plane, [end[plane.across], end[plane.down]]));
    const colour = i === state.chosen ? "#ffe27a" : "#56b4e9";
    const corners = [a, [b[0], a[1]], b, [a[0], b[1]], a];
    line(pen, "#000", 4, ...corners);
    line(pen, colour, 2, ...corners);
    word(pen, String(i + 1), [Math.min(a[0], b[0]), Math.max(9, Math.min(a[1], b[1]) - 10)], colour, "#06202f");
  };
  const drawLength = (pen, plane, { from, to }) => {
    const ends = [from, to].map((end) => onScreen(plane, end));
    line(pen, "#000", 4, ...ends);
    line(pen, "#ffe27a", 2, ...ends);
    word(pen, lengthOf(plane, from, to), [ends[1][0] + 6, ends[1][1]], "#ffe27a", "#06202f");
  };
  const drawCross = (pen, plane) => {
    const middle = onScreen(plane, [at[plane.across] + 0.5, at[plane.down] + 0.5]);
    const [wide, high] = [plane.canvas.clientWidth, plane.canvas.clientHeight];
    line(pen, "rgb(108 193 245 / .75)", 1, [0, middle[1]], [wide, middle[1]]);
    line(pen, "rgb(108 193 245 / .75)", 1, [middle[0], 0], [middle[0], high]);
  };
  const drawPlane = (plane) => {
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [plane.canvas.clientWidth, plane.canvas.clientHeight];
    if (plane.canvas.width !== Math.round(wide * ratio)) plane.canvas.width = Math.round(wide * ratio);
    if (plane.canvas.height !== Math.round(high * ratio)) plane.canvas.height = Math.round(high * ratio);
    if (plane.stale) fill(plane, plane.grey, volume.values, greys, -32768);
    if (heat.table && plane.staleHeat) fill(plane, plane.hot, heat.values, heat.table, 0);
    [plane.stale, plane.staleHeat] = [false, !heat.table];
    const pen = plane.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const { x, y, sx, sy } = frame(plane);
    pen.imageSmoothingEnabled = false; // what looks smooth would be no voxel's HU
    pen.drawImage(plane.grey, x, y, sx * plane.width, sy * plane.height);
    if (heat.table && field("heat-on").checked) {
      pen.globalAlpha = Number(field("opacity").value) / 100;
      pen.drawImage(plane.hot, x, y, sx * plane.width, sy * plane.height);
      pen.globalAlpha = 1;
    }
    if (state.cross) drawCross(pen, plane);
    if (state.boxes) facts.findings.forEach((box, i) => { if (box.length === 6) drawBox(pen, plane, box, i); });
    const here = (one) => one.plane === plane.number && one.slice === at[plane.through];
    for (const one of started?.to ? [...lengths, started] : lengths) if (here(one)) drawLength(pen, plane, one);
    plane.edges.forEach((letter, i) => {
      pen.fillStyle = "#e8edf2";
      pen.font = "600 12px system-ui, sans-serif";
      pen.textBaseline = "middle";
      pen.fillText(letter, ...[[5, high / 2], [wide - 15, high / 2], [wide / 2 - 4, 10], [wide / 2 - 4, high - 10]][i]);
    });
    plane.said.value = `${at[plane.through] + 1} / ${sizes[plane.through]}`;
    plane.slider.value = at[plane.through] + 1;
  };
  let waiting = 0;
  const draw = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => planes.forEach(drawPlane)); };

  // --- What is said -----------------------------------------------------------------------------------------------
  const tell = (voxel) => {
    const hu = volume.there[voxel[2]] ? `${volume.values[voxel[0] + voxel[1] * steps[1] + voxel[2] * steps[2]]} HU` : "loading";
    field("place").textContent = `x ${voxel[0]}, y ${voxel[1]}, slice ${voxel[2] + 1} · ${hu}`;
  };
  const go = (voxel) => {
    for (const plane of planes) {
      const axis = plane.through;
      const value = Math.max(0, Math.min(sizes[axis] - 1, Math.round(voxel[axis])));
      if (value !== at[axis]) [at[axis], plane.stale, plane.staleHeat] = [value, true, true];
    }
    tell(at);
    draw();
  };
  const turn = (plane, by) => { const voxel = [...at]; voxel[plane.through] += by; go(voxel); };
  const list = () => {
    field("lengths").replaceChildren(...lengths.map((one) => {
      const made = document.createElement("li");
      made.textContent = `${lengthOf(planes[one.plane], one.from, one.to)}, ${planes[one.plane].name.toLowerCase()} ${one.slice + 1}`;
      return made;
    }));
    field("measured").hidden = !lengths.length;
    draw();
  };
  const keep = (plane, from, to) => {
    lengths.push({ plane: plane.number, slice: at[plane.through], from, to });
    kit.say(`Length ${lengthOf(plane, from, to)}.`);
    list();
  };

  // --- Window -----------------------------------------------------------------------------------------------------
  const presets = field("window");
  facts.windows.forEach(([name], i) => presets.append(new Option(name, i)));
  presets.append(new Option("Own", "own"));
  const setWindow = (level, width) => {
    const half = Math.max(1, Math.min(40000, width)) / 2;
    const middle = Math.max(-32768, Math.min(32767, level));
    [state.low, state.high] = [middle - half, middle + half];
    [field("level").value, field("width").value] = [Math.round(middle), Math.round(2 * half)];
    const known = facts.windows.findIndex(([, low, high]) => low === state.low && high === state.high);
    presets.value = known < 0 ? "own" : known;
    setGreys();
    planes.forEach((plane) => { plane.stale = true; });
    draw();
  };
  const showPreset = (i) => { const [, low, high] = facts.windows[i]; setWindow((low + high) / 2, high - low); };
  presets.addEventListener("change", () => { if (presets.value !== "own") showPreset(presets.value); });
  for (const name of ["level", "width"]) field(name).addEventListener("change", () => setWindow(Number(field("level").value), Number(field("width").value) || 1));

  // --- Mouse, fingers and keys ------------------------------------------------------------------------------------
  const press = (plane, down) => {
    const from = inPlane(plane, down);
    const [level, width] = [(state.low + state.high) / 2, state.high - state.low];
    const measuring = state.measuring && inside(plane, from);
    let moved = false;
    plane.canvas.setPointerCapture(down.pointerId);
    const move = (event) => {
      const [dx, dy] = [event.clientX - down.clientX, event.clientY - down.clientY];
      moved ||= Math.hypot(dx, dy) >= MOVED;
      if (!moved) return;
      if (measuring) { started = { plane: plane.number, slice: at[plane.through], from, to: inPlane(plane, event) }; draw(); } else setWindow(level + HU_A_PIXEL * dy, width + HU_A_PIXEL * dx);
    };
    const end = (event) => {
      for (const [name, job] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) plane.canvas.removeEventListener(name, job);
      if (event.type === "pointerup" && moved && measuring) keep(plane, from, inPlane(plane, event));
      else if (event.type === "pointerup" && !moved && inside(plane, from)) go(voxelOf(plane, from));
      started = null;
      draw();
    };
    for (const [name, job] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) plane.canvas.addEventListener(name, job);
  };
  /** Enter marks the crosshair as an end. */
  const mark = (plane) => {
    const here = [at[plane.across] + 0.5, at[plane.down] + 0.5];
    if (started?.plane === plane.number && started.slice === at[plane.through]) {
      const { from } = started;
      started = null;
      keep(plane, from, here);
    } else {
      started = { plane: plane.number, slice: at[plane.through], from: here };
      kit.say("The first end is marked; move the crosshair and press Enter for the other.");
    }
  };
  const typed = (plane, event) => {
    const [across, down] = plane.turned.map((back) => (back ? -1 : 1));
    const move = { ArrowLeft: [plane.across, -across], ArrowRight: [plane.across, across], ArrowUp: [plane.down, -down],
      ArrowDown: [plane.down, down], PageUp: [plane.through, 1], PageDown: [plane.through, -1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (!move && !(event.key === "Enter" && state.measuring))) return;
    event.preventDefault();
    if (!move) { mark(plane); return; }
    const voxel = [...at];
    voxel[move[0]] += move[1];
    go(voxel);
  };
  const listen = (plane) => {
    let turnedBy = 0;
    plane.canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return; // the browser's own zoom
      event.preventDefault();
      // A mouse's wheel comes in steps, a touchpad's by the pixel.
      turnedBy += event.deltaMode ? 100 * Math.sign(event.deltaY) : event.deltaY;
      const slices = Math.trunc(turnedBy / 50) || 0;
      if (!slices) return;
      turnedBy = 0;
      turn(plane, Math.sign(slices));
    }, { passive: false });
    plane.canvas.addEventListener("pointerdown", (event) => { if (event.button === 0) press(plane, event); });
    plane.canvas.addEventListener("pointermove", (event) => { const point = inPlane(plane, event); if (inside(plane, point)) tell(voxelOf(plane, point)); });
    plane.canvas.addEventListener("pointerleave", () => tell(at));
    plane.canvas.addEventListener("keydown", (event) => typed(plane, event));
    plane.slider.addEventListener("input", () => { const voxel = [...at]; voxel[plane.through] = plane.slider.value - 1; go(voxel); });
  };

  // --- Start ------------------------------------------------------------------------------------------------------
  const pressed = (name) => document.querySelector(`[data-do=${name}]`);
  const toggle = (name, job) => {
    const button = pressed(name);
    const act = () => { const on = button.getAttribute("aria-pressed") !== "true"; button.setAttribute("aria-pressed", on); job(on); draw(); };
    button.addEventListener("click", act);
    return act;
  };
  const cross = toggle("cross", (on) => { state.cross = on; });
  const measure = toggle("measure", (on) => { state.measuring = on; started = null; place.classList.toggle("measuring", on); });
  const reset = () => { showPreset(0); go(sizes.map((size) => Math.floor(size / 2))); };
  pressed("fit").addEventListener("click", reset);
  field("clear").addEventListener("click", () => { lengths = []; list(); });
  for (const button of document.querySelectorAll("[data-finding]")) {
    button.addEventListener("click", () => {
      document.querySelector("[data-finding][aria-current]")?.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      state.chosen = Number(button.dataset.finding);
      const box = facts.findings[state.chosen];
      if (box.length === 6) go([0, 1, 2].map((axis) => (box[axis] + box[axis + 3] - 1) / 2));
      kit.say(`The three planes go through finding ${state.chosen + 1}.`);
    });
  }
  Object.assign(kit.keys, { 0: reset, x: cross, m: measure, b: () => { state.boxes = !state.boxes; draw(); } });

  const first = facts.findings[0];
  if (first?.length === 6) at.forEach((_, axis) => { at[axis] = Math.round((first[axis] + first[axis + 3] - 1) / 2); });
  let volume = null;
  try {
    volume = kit.loadSlices(facts.base, facts.shape, () => at[2], (z) => {
      if (z === at[2]) place.dataset.volume = "open";
      for (const plane of planes) if (plane.through !== 2 || z === at[2]) plane.stale = true;
      draw();
      tell(at);
    });
  } catch {
    note("This browser has not the memory for the volume; use another, or the overview in the worklist.");
    return;
  }
  volume.whole.then(() => { place.dataset.volume = "whole"; },
    () => note("The volume cannot be shown; the study may be being scanned anew. Reload the page."));
  planes.forEach(listen);
  showPreset(0);
  if (first?.length === 6) document.querySelector("[data-finding]").click();
  tell(at);
  new ResizeObserver(draw).observe(place);
  if (!facts.heat) return;
  const recolour = () => { heat.table = kit.heatTable(Number(field("threshold").value) / 100); planes.forEach((plane) => { plane.staleHeat = true; }); draw(); };
  kit.heatControls(draw, recolour);
  kit.loadHeat(facts.base, facts.shape).then((values) => { heat.values = values; recolour(); place.dataset.heat = "shown"; },
    () => note("The heat cannot be shown; reload the page."));
})();
