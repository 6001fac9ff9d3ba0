"use strict";
// A film on a canvas: moved, enlarged, marked. Marks are boxes [x0, y0, x1, y1] in the film's own pixels.
window.Viewer = class {
  /** `canvas` shows the marks and takes the pointer; `paper`, under it, the film: so a filter changes the film alone. */
  constructor(canvas, paper, changed) {
    this.canvas = canvas;
    this.paper = paper;
    this.changed = changed;
    this.tool = "move";
    this.ring = null;
    this.marks = [];
    this.image = null;
    this.size = { width: 1, height: 1 };
    this.look = { brightness: 100, contrast: 100, invert: false };
    this.scale = 1; this.left = 0; this.top = 0;
    this.pointers = new Map();
    new ResizeObserver(() => this.resized()).observe(canvas);
    for (const [kind, act] of [["pointerdown", "down"], ["pointermove", "moved"], ["pointerup", "up"], ["pointercancel", "up"]])
      canvas.addEventListener(kind, (event) => this[act](event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), this.point(event));
    }, { passive: false });
  }

  show(image, size, marks) {
    const other = size.width !== this.size.width || size.height !== this.size.height || !this.image;
    this.image = image; this.size = size; this.marks = marks; this.ring = null; this.draft = null;
    this.pointers.clear();
    if (other || image) this.fit(); else this.draw();
  }

  // Geometry: canvas pixel = film pixel * scale + (left, top), in CSS pixels.
  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }
  film(point) {
    return { x: Math.min(Math.max((point.x - this.left) / this.scale, 0), this.size.width),
             y: Math.min(Math.max((point.y - this.top) / this.scale, 0), this.size.height) };
  }
  whole() { return Math.min(this.canvas.clientWidth / this.size.width, this.canvas.clientHeight / this.size.height); }
  fit() {
    this.scale = this.whole();
    this.left = (this.canvas.clientWidth - this.size.width * this.scale) / 2;
    this.top = (this.canvas.clientHeight - this.size.height * this.scale) / 2;
    this.draw();
  }
  zoom(factor, at = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 }) {
    const least = this.whole();
    const scale = Math.min(Math.max(this.scale * factor, least * 0.8), Math.max(8, least));
    this.left = at.x - (at.x - this.left) * scale / this.scale;
    this.top = at.y - (at.y - this.top) * scale / this.scale;
    this.scale = scale;
    this.keep(); this.draw();
  }
  pan(x, y) { this.left += x; this.top += y; this.keep(); this.draw(); }
  keep() {  // at least a hand's breadth of film stays in view
    const { clientWidth: w, clientHeight: h } = this.canvas;
    const hand = 80;
    this.left = Math.min(Math.max(this.left, hand - this.size.width * this.scale), w - hand);
    this.top = Math.min(Math.max(this.top, hand - this.size.height * this.scale), h - hand);
  }
  resized() {
    const ratio = window.devicePixelRatio || 1;
    for (const one of [this.canvas, this.paper]) {
      one.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
      one.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    }
    this.fit();
  }

  // Pointers: one drags, two pinch.
  down(event) {
    if (event.button) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.point(event);
    this.pointers.set(event.pointerId, at);
    this.draft = this.pointers.size === 1 && this.tool !== "move" ? { shape: this.tool, from: this.film(at), to: this.film(at) } : null;
  }
  moved(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const at = this.point(event);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const far = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
      this.zoom(far(at) / far(before), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
    } else if (this.draft) {
      this.draft.to = this.film(at);
    } else {
      this.pan(at.x - before.x, at.y - before.y);
    }
    this.pointers.set(event.pointerId, at);
    this.draw();
  }
  up(event) {
    if (!this.pointers.delete(event.pointerId) || !this.draft) return;
    const { shape, from, to } = this.draft;
    this.draft = null;
    if (event.type === "pointercancel") { this.draw(); return; }
    const small = Math.hypot(to.x - from.x, to.y - from.y) * this.scale < 6;
    this.add(shape, small ? this.around(from, this.reach()) : [from.x, from.y, to.x, to.y]);
  }

  // Marks
  reach() { return Math.max(this.size.width, this.size.height) * 0.02; }
  around(at, reach) { return [at.x - reach, at.y - reach, at.x + reach, at.y + reach]; }
  add(shape, [a, b, c, d]) {
    const inside = (v, most) => Math.min(Math.max(v, 0), most);
    const round = (v) => Math.round(v * 10) / 10;
    const x = [inside(a, this.size.width), inside(c, this.size.width)].sort((p, q) => p - q).map(round);
    const y = [inside(b, this.size.height), inside(d, this.size.height)].sort((p, q) => p - q).map(round);
    if (x[1] - x[0] < 1 || y[1] - y[0] < 1 || this.marks.length >= 50) { this.draw(); return; }
    this.marks.push({ shape, box: [x[0], y[0], x[1], y[1]] });
    this.draw();
    this.changed();
  }
  /** The name of the view that a mark's middle lies in, or the nearest; empty of a single film. */
  viewOf({ box }) {
    const middle = (box[0] + box[2]) / 2;
    const away = (view) => Math.max(view.left - middle, middle - view.right);
    return (this.size.views ?? []).reduce((best, view) => (!best || away(view) < away(best) ? view : best), null)?.name ?? "";
  }
  take(index) {
    if (index < 0) return;
    this.marks.splice(index, 1);
    this.draw();
    this.changed();
  }
  ringOn() {
    const at = this.film({ x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 });
    this.ring = { ...at, reach: this.reach() };
    this.draw();
  }
  ringOff() { this.ring = null; this.draw(); }
  ringMove(x, y) {
    const step = (far) => far * Math.max(this.size.width, this.size.height) / 200;
    this.ring.x = Math.min(Math.max(this.ring.x + step(x), 0), this.size.width);
    this.ring.y = Math.min(Math.max(this.ring.y + step(y), 0), this.size.height);
    this.draw();
  }
  ringSize(factor) {
    const most = Math.max(this.size.width, this.size.height) / 3;
    this.ring.reach = Math.min(Math.max(this.ring.reach * factor, this.reach() / 4), most);
    this.draw();
  }
  ringSet() { this.add("ellipse", this.around(this.ring, this.ring.reach)); }

  draw() {
    const { brightness, contrast, invert } = this.look;
    this.paper.style.filter = `brightness(${brightness}%) contrast(${contrast}%)${invert ? " invert(1)" : ""}`;
    const ratio = window.devicePixelRatio || 1;
    const [film, paper] = [this.paper, this.canvas].map((one) => {
      const context = one.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
      return context;
    });
    if (!this.image) return;
    film.imageSmoothingEnabled = this.scale < 3;
    film.imageSmoothingQuality = "high";
    film.drawImage(this.image, this.left, this.top, this.size.width * this.scale, this.size.height * this.scale);
    for (const view of this.size.views ?? []) {
      paper.font = "600 15px system-ui, sans-serif";
      paper.lineWidth = 4; paper.strokeStyle = "rgb(0 0 0 / .75)"; paper.fillStyle = "#e8edf2";
      const corner = [Math.max(view.left * this.scale + this.left, 0) + 8, Math.max(this.top, 0) + 20];
      paper.strokeText(view.name, ...corner); paper.fillText(view.name, ...corner);
    }
    this.marks.forEach((mark, number) => this.outline(paper, mark, `${number + 1}`, "#6cc1f5"));
    if (this.draft) {
      const { shape, from, to } = this.draft;
      this.outline(paper, { shape, box: [from.x, from.y, to.x, to.y] }, "", "#ffe27a");
    }
    if (this.ring) this.outline(paper, { shape: "ellipse", box: this.around(this.ring, this.ring.reach) }, "", "#ffe27a", true);
  }
  outline(paper, { shape, box }, label, colour, cross = false) {
    const x = [box[0], box[2]].map((v) => v * this.scale + this.left);
    const y = [box[1], box[3]].map((v) => v * this.scale + this.top);
    const path = new Path2D();
    if (shape === "box") path.rect(x[0], y[0], x[1] - x[0], y[1] - y[0]);
    else path.ellipse((x[0] + x[1]) / 2, (y[0] + y[1]) / 2, Math.abs(x[1] - x[0]) / 2, Math.abs(y[1] - y[0]) / 2, 0, 0, 7);
    if (cross) {
      const at = { x: (x[0] + x[1]) / 2, y: (y[0] + y[1]) / 2 };
      path.moveTo(at.x - 5, at.y); path.lineTo(at.x + 5, at.y); path.moveTo(at.x, at.y - 5); path.lineTo(at.x, at.y + 5);
    }
    for (const [style, width] of [["rgb(0 0 0 / .75)", 4.5], [colour, 2]]) {
      paper.strokeStyle = style; paper.lineWidth = width; paper.stroke(path);
    }
    if (!label) return;
    paper.font = "600 14px system-ui, sans-serif";
    paper.lineWidth = 4; paper.strokeStyle = "rgb(0 0 0 / .75)"; paper.fillStyle = colour;
    const corner = [Math.max(...x) + 4, Math.min(...y) + 10];
    paper.strokeText(label, ...corner); paper.fillText(label, ...corner);
  }
};
