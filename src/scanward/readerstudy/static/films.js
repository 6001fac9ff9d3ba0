"use strict";
// Films, or the two views of a breast as one picture: loaded, moved, enlarged, marked.
window.openDesk = ({ changed, press }) => {
  const by = (id) => document.getElementById(id);
  const viewer = new Viewer(by("film"), by("paper"), changed);

  // Pictures: the one at hand and the next.
  const pictures = new Map();
  function picture(film) {
    if (!pictures.has(film.id)) {
      const image = new Image();
      image.src = `/film/${film.id}.png`;
      pictures.set(film.id, image.decode().then(() => image).catch((error) => { pictures.delete(film.id); throw error; }));
    }
    while (pictures.size > 4) pictures.delete(pictures.keys().next().value);
    return pictures.get(film.id);
  }

  function tool(name) {
    viewer.tool = name;
    by("film").dataset.tool = viewer.ring ? "ring" : name;
    for (const button of document.querySelectorAll("[data-tool][aria-pressed]")) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  }
  for (const button of document.querySelectorAll("button[data-tool]")) press(button, () => tool(button.dataset.tool));
  for (const name of ["brightness", "contrast"]) by(name).addEventListener("input", () => { viewer.look[name] = Number(by(name).value); viewer.draw(); });
  const invert = () => { viewer.look.invert = !viewer.look.invert; by("invert").setAttribute("aria-pressed", String(viewer.look.invert)); viewer.draw(); };
  press(by("invert"), invert);
  press(by("fit"), () => viewer.fit());
  press(by("larger"), () => viewer.zoom(1.3));
  press(by("smaller"), () => viewer.zoom(1 / 1.3));

  const arrow = (x, y) => (event) => {
    if (viewer.ring) viewer.ringMove(x * (event.shiftKey ? 8 : 1), y * (event.shiftKey ? 8 : 1));
    else viewer.pan(-x * 60, -y * 60);
  };
  const larger = (factor) => () => { if (viewer.ring) viewer.ringSize(factor); else viewer.zoom(factor); };
  const ring = () => { if (viewer.ring) viewer.ringOff(); else { viewer.ringOn(); kit.say("A ring is in the middle; move it with the arrows, set it with Space"); } tool(viewer.tool); };
  Object.assign(kit.keys, {
    ArrowLeft: arrow(-1, 0), ArrowRight: arrow(1, 0), ArrowUp: arrow(0, -1), ArrowDown: arrow(0, 1),
    "+": larger(1.2), "=": larger(1.2), "-": larger(1 / 1.2), 0: () => viewer.fit(),
    m: ring, i: invert,
    " ": () => { if (viewer.ring) viewer.ringSet(); },
    Escape: () => { if (viewer.ring) viewer.ringOff(); tool("move"); },
  });

  return {
    none: "None. Draw on the film, or press m.",
    async show(film) {
      viewer.show(null, film, film.marks);
      tool("move");
      const image = await picture(film);
      if (viewer.size === film) viewer.show(image, film, film.marks);
    },
    preload: (film) => { picture(film).catch(() => {}); },
    row: (film, mark, number) => [`${number + 1}  ${mark.shape === "box" ? "▢" : "◯"} ${viewer.viewOf(mark)}`.trim()],
    take: (number) => viewer.take(number),
  };
};
