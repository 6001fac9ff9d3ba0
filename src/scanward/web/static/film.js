"use strict";
// A mammogram in OpenSeadragon. Heat and boxes are drawn over it on one canvas, so that opacity and threshold follow
// the sliders at once and lines keep their width at every zoom.
(() => {
  const place = document.getElementById("viewer");
  const facts = JSON.parse(place.dataset.image);
  const field = (name) => document.getElementById(name);
  const note = (words) => { const line = field("viewer-note"); line.textContent = words; line.hidden = false; };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  // OpenSeadragon adds a style element unless it finds one, and the page's policy allows none. The rules are in our
  // own style sheet; this, of no namespace that browsers know, is found and does nothing.
  const found = document.createElementNS("urn:kit", "style");
  found.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(found);

  const viewer = OpenSeadragon({
    element: place, tileSources: `${facts.base}/film.dzi`, prefixUrl: "/static/vendor/", drawer: "canvas",
    showNavigationControl: false, showNavigator: matchMedia("(min-width: 900px)").matches,
    navigatorPosition: "BOTTOM_LEFT", navigatorSizeRatio: 0.16, navigatorBorderColor: "#728596",
    navigatorDisplayRegionColor: "#6cc1f5", navigatorBackground: "#000",
    animationTime: still ? 0 : 0.6, springStiffness: 9, visibilityRatio: 0.4, minZoomImageRatio: 0.8,
    maxZoomPixelRatio: 6, gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    gestureSettingsTouch: { dblClickToZoom: true }, imageLoaderLimit: 6, crossOriginPolicy: false,
  });
  // Letters are the page's; the arrows, + and - are the viewer's while it has the focus.
  viewer.addHandler("canvas-key", (event) => {
    const key = event.originalEvent.key;
    event.preventDefaultAction = !(key.startsWith("Arrow") || key === "+" || key === "-" || key === "=");
  });
  viewer.addHandler("open-failed", () => note("The film cannot be shown; the study may be being scanned anew. Reload the page."));
  viewer.canvas.setAttribute("role", "application");
  viewer.canvas.setAttribute("aria-label", "Mammogram; arrows move it, + and - zoom");

  // --- Heat -------------------------------------------------------------------------------------------------------
  const heat = { width: 0, height: 0, values: null, canvas: document.createElement("canvas") };
  const over = document.createElement("canvas");
  over.className = "over";
  viewer.canvas.append(over);

  const load = async (address) => {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    return answer;
  };
  const loadHeat = async () => {
    const xml = new DOMParser().parseFromString(await (await load(`${facts.base}/heat.dzi`)).text(), "application/xml");
    const [root, size] = [xml.documentElement, xml.getElementsByTagName("Size")[0]];
    const [side, overlap] = [Number(root.getAttribute("TileSize")), Number(root.getAttribute("Overlap"))];
    [heat.width, heat.height] = [Number(size.getAttribute("Width")), Number(size.getAttribute("Height"))];
    const level = Math.ceil(Math.log2(Math.max(heat.width, heat.height, 1)));
    const whole = Object.assign(document.createElement("canvas"), { width: heat.width, height: heat.height });
    const paint = whole.getContext("2d", { willReadFrequently: true });
    const jobs = [];
    for (let row = 0; row * side < heat.height; row += 1) {
      for (let column = 0; column * side < heat.width; column += 1) {
        jobs.push((async () => {
          const blob = await (await load(`${facts.base}/heat_files/${level}/${column}_${row}.png`)).blob();
          paint.drawImage(await createImageBitmap(blob), column * side - (column ? overlap : 0), row * side - (row ? overlap : 0));
        })());
      }
    }
    await Promise.all(jobs);
    const pixels = paint.getImageData(0, 0, heat.width, heat.height).data;
    heat.values = new Uint8Array(heat.width * heat.height);
    for (let i = 0; i < heat.values.length; i += 1) heat.values[i] = pixels[4 * i];
    [heat.canvas.width, heat.canvas.height] = [heat.width, heat.height];
    recolour();
    place.dataset.heat = "shown";
  };

  const recolour = () => {
    if (!heat.values) return;
    const table = kit.heatTable(Number(field("threshold").value) / 100);
    const image = new ImageData(heat.width, heat.height);
    const words = new Uint32Array(image.data.buffer);
    for (let i = 0; i < words.length; i += 1) words[i] = table[heat.values[i]];
    heat.canvas.getContext("2d").putImageData(image, 0, 0);
    draw();
  };

  // --- Drawing ----------------------------------------------------------------------------------------------------
  const shown = { boxes: true, chosen: -1 };
  const draw = () => {
    const film = viewer.world.getItemAt(0);
    if (!film) return;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(viewer.canvas.clientWidth * ratio), Math.round(viewer.canvas.clientHeight * ratio)];
    if (over.width !== width || over.height !== height) [over.width, over.height] = [width, height];
    const pen = over.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const size = film.getContentSize();
    const corner = film.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
    const end = film.imageToViewerElementCoordinates(new OpenSeadragon.Point(size.x, size.y));
    if (heat.values && field("heat-on")?.checked) {
      pen.globalAlpha = Number(field("opacity").value) / 100;
      pen.imageSmoothingEnabled = true;
      pen.drawImage(heat.canvas, corner.x, corner.y, end.x - corner.x, end.y - corner.y);
      pen.globalAlpha = 1;
    }
    if (shown.boxes) facts.findings.forEach((box, i) => drawBox(pen, film, box, i));
  };
  const drawBox = (pen, film, box, i) => {
    const from = film.imageToViewerElementCoordinates(new OpenSeadragon.Point(box[0], box[1]));
    const to = film.imageToViewerElementCoordinates(new OpenSeadragon.Point(box[2], box[3]));
    for (const [tone, wide] of [["#000", 5], [i === shown.chosen ? "#ffe27a" : "#56b4e9", 2.5]]) {
      pen.strokeStyle = tone;
      pen.lineWidth = wide;
      pen.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
    }
    pen.font = "600 14px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const word = String(i + 1);
    const wide = pen.measureText(word).width + 10;
    pen.fillStyle = i === shown.chosen ? "#ffe27a" : "#56b4e9";
    pen.fillRect(from.x - 1, from.y - 22, wide, 20);
    pen.fillStyle = "#06202f";
    pen.fillText(word, from.x + 4, from.y - 11);
  };
  for (const name of ["update-viewport", "open", "resize", "animation-finish"]) viewer.addHandler(name, draw);
  viewer.addHandler("open", () => { place.dataset.film = "open"; });

  // --- Controls ---------------------------------------------------------------------------------------------------
  if (facts.heat) kit.heatControls(draw, recolour);
  let inverted = false;
  const tone = () => {
    viewer.drawer.canvas.style.filter = `brightness(${field("brightness").value}%) contrast(${field("contrast").value}%)${inverted ? " invert(1)" : ""}`;
  };
  for (const name of ["brightness", "contrast"]) field(name).addEventListener("input", tone);

  const go = (i) => {
    const film = viewer.world.getItemAt(0);
    const [x0, y0, x1, y1] = facts.findings[i] ?? [];
    if (!film || x0 === undefined) return;
    const around = 1.2 * Math.max(x1 - x0, y1 - y0, 64);
    shown.chosen = i;
    viewer.viewport.fitBounds(film.imageToViewportRectangle(x0 - around, y0 - around, x1 - x0 + 2 * around, y1 - y0 + 2 * around), still);
    draw();
    kit.say(`Finding ${i + 1} is in the middle of the view.`);
  };
  for (const button of document.querySelectorAll("[data-finding]")) {
    button.addEventListener("click", () => {
      document.querySelector("[data-finding][aria-current]")?.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      go(Number(button.dataset.finding));
    });
  }
  const whole = () => { shown.chosen = -1; viewer.viewport.goHome(still); draw(); };
  const actions = {
    in: () => viewer.viewport.zoomBy(1.5), out: () => viewer.viewport.zoomBy(1 / 1.5), fit: whole,
    full: () => viewer.viewport.zoomTo(viewer.viewport.imageToViewportZoom(1 / (devicePixelRatio || 1))),
    invert: (button) => { inverted = !inverted; button.setAttribute("aria-pressed", inverted); tone(); },
  };
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => actions[button.dataset.do](button));
  Object.assign(kit.keys, {
    b: () => { shown.boxes = !shown.boxes; draw(); }, 0: whole, "+": actions.in, "-": actions.out,
  });
  if (facts.heat) loadHeat().catch(() => note("The heat cannot be shown; reload the page."));
})();
