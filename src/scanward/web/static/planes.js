"use strict";
// A CT in three planes: drawn, turned, windowed and enlarged. Who uses it draws and does more by `hooks`.
(() => {
  const HU_A_PIXEL = 2;
  const MOVED = 3; // pixels from which a press is a drag
  const MOST_ZOOM = 12;

  /** `place` holds a figure `[data-plane=N]` for each of `facts.planes`; `facts` are base, shape, spacing, windows and
   *  planes. Hooks, each of which may lack: `smooth`, `zooms`, `gap` in the cross, `under(pen, plane)` and
   *  `over(pen, plane)` draw, `drag(plane, from)` may answer with `{move, end, over}` of a drag of its own,
   *  `clicked(plane)`, `typed(plane, event)` is true where it took the key, `came(z)` after a slice. */
  kit.planes = (place, facts, hooks) => {
    const field = (name) => document.getElementById(name);
    const over = new AbortController();
    const listen = (target, name, job, options = {}) => target.addEventListener(name, job, { ...options, signal: over.signal });
    const sizes = [...facts.shape].reverse(); // of the axes x, y, z
    const steps = [1, sizes[0], sizes[0] * sizes[1]]; // from a voxel to the next along each
    const mm = facts.spacing ? [...facts.spacing].reverse() : null;
    const at = sizes.map((size) => Math.floor(size / 2)); // the crosshair's voxel, (x, y, z)
    const state = { low: facts.windows[0][1], high: facts.windows[0][2], cross: true, active: 0 };
    let volume = null;

    // --- Planes: from voxels to the screen and back ---------------------------------------------------------------
    const planes = facts.planes.map((plane, number) => {
      const figure = place.querySelector(`[data-plane="${number}"]`);
      const [width, height] = [sizes[plane.across], sizes[plane.down]];
      const made = {
        ...plane, number, figure, width, height, canvas: figure.querySelector("canvas"), slider: figure.querySelector("input"),
        said: figure.querySelector("output"), stale: true, zoom: 1, shift: [0, 0], // in voxels
        grey: Object.assign(document.createElement("canvas"), { width, height }),
      };
      made.slider.max = sizes[plane.through];
      return made;
    });
    /** Where the plane lies on its canvas, in CSS pixels, and pixels a voxel across and down. */
    const frame = (plane) => {
      const [wide, high] = [plane.canvas.clientWidth, plane.canvas.clientHeight];
      const [across, down] = mm ? [mm[plane.across], mm[plane.down]] : [1, 1];
      const scale = plane.zoom * Math.min(wide / (plane.width * across), high / (plane.height * down));
      const [sx, sy] = [scale * across, scale * down];
      return { x: (wide - sx * plane.width) / 2 + plane.shift[0] * sx, y: (high - sy * plane.height) / 2 + plane.shift[1] * sy, sx, sy };
    };
    const turned = (plane, i, value) => (plane.turned[i] ? [plane.width, plane.height][i] - value : value);
    /** Voxels across and down, broken, to the canvas; and back. */
    const onScreen = (plane, [u, v]) => {
      const { x, y, sx, sy } = frame(plane);
      return [x + sx * turned(plane, 0, u), y + sy * turned(plane, 1, v)];
    };
    const onCanvas = (plane, event) => {
      const box = plane.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const inPlane = (plane, event) => {
      const [[left, top], { x, y, sx, sy }] = [onCanvas(plane, event), frame(plane)];
      return [turned(plane, 0, (left - x) / sx), turned(plane, 1, (top - y) / sy)];
    };
    const inside = (plane, [u, v]) => u >= 0 && v >= 0 && u < plane.width && v < plane.height;
    const voxelOf = (plane, [u, v]) => {
      const voxel = [...at];
      [voxel[plane.across], voxel[plane.down]] = [Math.floor(u), Math.floor(v)];
      return voxel;
    };
    /** Larger about a place of the canvas, or about the crosshair, which then comes to the middle. */
    const zoom = (plane, factor, point) => {
      const [wide, high] = [plane.canvas.clientWidth, plane.canvas.clientHeight];
      const from = point ?? onScreen(plane, [at[plane.across] + 0.5, at[plane.down] + 0.5]);
      const to = point ?? [wide / 2, high / 2];
      const before = frame(plane);
      plane.zoom = Math.max(1, Math.min(MOST_ZOOM, plane.zoom * factor));
      const { sx, sy } = frame(plane);
      plane.shift = [[wide, before.sx, sx], [high, before.sy, sy]].map(([side, old, now], i) => (
        (to[i] - side / 2) / now - (from[i] - side / 2) / old + plane.shift[i]));
      shift(plane, 0, 0);
    };
    /** By pixels of the canvas; the picture does not leave it where it is larger. */
    const shift = (plane, x, y) => {
      const { sx, sy } = frame(plane);
      const sides = [[plane.canvas.clientWidth, sx, plane.width, x], [plane.canvas.clientHeight, sy, plane.height, y]];
      plane.shift = sides.map(([side, scale, voxels, by], i) => {
        const most = Math.max(0, voxels - side / scale) / 2;
        return Math.max(-most, Math.min(most, plane.shift[i] + by / scale));
      });
      draw();
    };

    // --- Pictures of the planes -----------------------------------------------------------------------------------
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
    const drawCross = (pen, plane) => {
      const middle = onScreen(plane, [at[plane.across] + 0.5, at[plane.down] + 0.5]);
      const [wide, high] = [plane.canvas.clientWidth, plane.canvas.clientHeight];
      const gap = hooks.gap ?? 0; // so that the cross does not hide what it points to
      for (const side of [-1, 1]) {
        line(pen, "rgb(108 193 245 / .75)", 1, [middle[0] + side * gap, middle[1]], [side < 0 ? 0 : wide, middle[1]]);
        line(pen, "rgb(108 193 245 / .75)", 1, [middle[0], middle[1] + side * gap], [middle[0], side < 0 ? 0 : high]);
      }
    };
    const drawPlane = (plane) => {
      const ratio = devicePixelRatio || 1;
      const [wide, high] = [plane.canvas.clientWidth, plane.canvas.clientHeight];
      if (plane.canvas.width !== Math.round(wide * ratio)) plane.canvas.width = Math.round(wide * ratio);
      if (plane.canvas.height !== Math.round(high * ratio)) plane.canvas.height = Math.round(high * ratio);
      if (plane.stale) fill(plane, plane.grey, volume.values, greys, -32768);
      plane.stale = false;
      const pen = plane.canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, wide, high);
      const { x, y, sx, sy } = frame(plane);
      pen.imageSmoothingEnabled = Boolean(hooks.smooth);
      pen.imageSmoothingQuality = "high";
      pen.drawImage(plane.grey, x, y, sx * plane.width, sy * plane.height);
      hooks.under?.(pen, plane);
      if (state.cross) drawCross(pen, plane);
      hooks.over?.(pen, plane);
      pen.font = "600 12px system-ui, sans-serif";
      pen.textBaseline = "middle";
      [pen.lineWidth, pen.strokeStyle, pen.fillStyle] = [3, "#000", "#e8edf2"];
      plane.edges.forEach((letter, i) => {
        const there = [[5, high / 2], [wide - 15, high / 2], [wide / 2 - 4, 10], [wide / 2 - 4, high - 10]][i];
        pen.strokeText(letter, ...there);
        pen.fillText(letter, ...there);
      });
      plane.said.value = `${at[plane.through] + 1} / ${sizes[plane.through]}`;
      plane.slider.value = at[plane.through] + 1;
    };
    let waiting = 0;
    const draw = () => { cancelAnimationFrame(waiting); if (volume) waiting = requestAnimationFrame(() => planes.forEach(drawPlane)); };

    // --- What is said, and where the planes lie -------------------------------------------------------------------
    const tell = (voxel) => {
      const hu = volume?.there[voxel[2]] ? `${volume.values[voxel[0] + voxel[1] * steps[1] + voxel[2] * steps[2]]} HU` : "loading";
      field("voxel").textContent = `x ${voxel[0]}, y ${voxel[1]}, slice ${voxel[2] + 1} · ${hu}`;
    };
    const go = (voxel) => {
      for (const plane of planes) {
        const axis = plane.through;
        const value = Math.max(0, Math.min(sizes[axis] - 1, Math.round(voxel[axis])));
        if (value !== at[axis]) [at[axis], plane.stale] = [value, true];
      }
      tell(at);
      draw();
    };
    const turn = (plane, by) => { const voxel = [...at]; voxel[plane.through] += by; go(voxel); };

    // --- Window ---------------------------------------------------------------------------------------------------
    const presets = field("window");
    presets.replaceChildren(...facts.windows.map(([name], i) => new Option(name, i)), new Option("Own", "own"));
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
    listen(presets, "change", () => { if (presets.value !== "own") showPreset(presets.value); });
    for (const name of ["level", "width"]) listen(field(name), "change", () => setWindow(Number(field("level").value), Number(field("width").value) || 1));

    // --- Mouse, fingers and keys ----------------------------------------------------------------------------------
    const press = (plane, down) => {
      const from = inPlane(plane, down);
      const [level, width] = [(state.low + state.high) / 2, state.high - state.low];
      const shifts = down.button !== 0 || down.shiftKey;
      const own = (!shifts && inside(plane, from) && hooks.drag?.(plane, from)) || null;
      let [moved, last] = [false, down];
      plane.canvas.setPointerCapture(down.pointerId);
      const move = (event) => {
        const [dx, dy] = [event.clientX - down.clientX, event.clientY - down.clientY];
        moved ||= Math.hypot(dx, dy) >= MOVED;
        if (!moved) return;
        if (shifts) shift(plane, event.clientX - last.clientX, event.clientY - last.clientY);
        else if (own) own.move(inPlane(plane, event));
        else setWindow(level + HU_A_PIXEL * dy, width + HU_A_PIXEL * dx);
        last = event;
      };
      const end = (event) => {
        for (const [name, job] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) plane.canvas.removeEventListener(name, job);
        if (event.type === "pointerup" && moved && own) own.end(inPlane(plane, event));
        else if (event.type === "pointerup" && !moved && !shifts && inside(plane, from)) { go(voxelOf(plane, from)); hooks.clicked?.(plane); }
        own?.over();
        draw();
      };
      for (const [name, job] of [["pointermove", move], ["pointerup", end], ["pointercancel", end]]) listen(plane.canvas, name, job);
    };
    const typed = (plane, event) => {
      const [across, down] = plane.turned.map((back) => (back ? -1 : 1));
      const move = { ArrowLeft: [plane.across, -across], ArrowRight: [plane.across, across], ArrowUp: [plane.down, -down],
        ArrowDown: [plane.down, down], PageUp: [plane.through, 1], PageDown: [plane.through, -1] }[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (!move) { if (hooks.typed?.(plane, event)) event.preventDefault(); return; }
      event.preventDefault();
      const voxel = [...at];
      voxel[move[0]] += move[1];
      go(voxel);
    };
    const wheel = (plane) => {
      let turnedBy = 0;
      return (event) => {
        if (event.ctrlKey && !hooks.zooms) return; // the browser's own zoom
        event.preventDefault();
        // A mouse's wheel comes in steps, a touchpad's by the pixel.
        const by = event.deltaMode ? 100 * Math.sign(event.deltaY) : event.deltaY;
        if (event.ctrlKey) { zoom(plane, Math.exp(-by / 400), onCanvas(plane, event)); return; }
        turnedBy += by;
        const slices = Math.trunc(turnedBy / 50) || 0;
        if (!slices) return;
        turnedBy = 0;
        turn(plane, -Math.sign(slices)); // as Page Down: of an axial scan towards the feet
      };
    };
    const serve = (plane) => {
      const { canvas, slider } = plane;
      listen(canvas, "wheel", wheel(plane), { passive: false });
      listen(canvas, "focus", () => { state.active = plane.number; });
      listen(canvas, "pointerdown", (event) => { if (event.button === 0 || hooks.zooms) press(plane, event); });
      if (hooks.zooms) listen(canvas, "contextmenu", (event) => event.preventDefault());
      listen(canvas, "pointermove", (event) => { const point = inPlane(plane, event); if (inside(plane, point)) tell(voxelOf(plane, point)); });
      listen(canvas, "pointerleave", () => tell(at));
      listen(canvas, "keydown", (event) => typed(plane, event));
      listen(slider, "input", () => { const voxel = [...at]; voxel[plane.through] = slider.value - 1; go(voxel); });
    };

    // --- Start and end --------------------------------------------------------------------------------------------
    const sizer = new ResizeObserver(draw);
    const fit = () => { for (const plane of planes) [plane.zoom, plane.shift] = [1, [0, 0]]; draw(); };
    const reset = () => {
      fit();
      showPreset(0);
      go(sizes.map((size) => Math.floor(size / 2)));
    };
    const close = () => { over.abort(); sizer.disconnect(); cancelAnimationFrame(waiting); volume?.stop(); volume = null; };
    /** Begins to load; throws where the browser has not the memory. Answers with what is there, as `kit.loadSlices`. */
    const start = () => {
      volume = kit.loadSlices(facts.base, facts.shape, () => at[2], (z) => {
        for (const plane of planes) if (plane.through !== 2 || z === at[2]) plane.stale = true;
        hooks.came?.(z);
        draw();
        tell(at);
      });
      planes.forEach(serve);
      sizer.observe(place);
      showPreset(0);
      tell(at);
      return volume;
    };
    return { at, sizes, mm, planes, state, frame, onScreen, inside, fill, line, word, draw, go, turn, typed, zoom, fit, showPreset, reset, start, close };
  };
})();
