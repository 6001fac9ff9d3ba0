"use strict";
// A CT in NiiVue: three planes through one point, the heat over them.
(async () => {
  const place = document.getElementById("viewer");
  const facts = JSON.parse(place.dataset.image);
  const canvas = document.getElementById("volume");
  const field = (name) => document.getElementById(name);
  const note = (words) => { const line = field("viewer-note"); line.textContent = words; line.hidden = !words; };

  if (!document.createElement("canvas").getContext("webgl2")) {
    note("This browser has no WebGL 2, which the three planes need; use another browser, or the overview in the worklist.");
    return;
  }
  const windows = field("window");
  facts.windows.forEach(([name, low, high], i) => windows.append(new Option(`${name} (${low} to ${high} HU)`, i)));

  const viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [0.42, 0.76, 0.96, 0.9], crosshairWidth: 1, show3Dcrosshair: false,
    isRadiologicalConvention: true, isOrientCube: false, isColorbar: false, dragAndDropEnabled: false, isResizeCanvas: true,
    multiplanarShowRender: 0, loadingText: "", logLevel: "error", fontColor: [0.8, 0.85, 0.9, 1],
    onLocationChange: (location) => {
      if (!location.mm || !location.values?.length) return;
      field("place").textContent = `voxel ${voxelAt(location.mm).map(Math.round).join(", ")} · ${Math.round(location.values[0].value)} HU`;
    },
  });
  /** Millimetres to (x, y, z) as the file counts them: the affine solved by Cramer's rule. */
  const voxelAt = (mm) => {
    const lines = viewer.volumes[0].hdr.affine;
    const [a, b, c] = [0, 1, 2].map((i) => [0, 1, 2].map((j) => lines[j][i]));
    const away = [0, 1, 2].map((j) => mm[j] - lines[j][3]);
    const volumeOf = (u, v, w) => u[0] * (v[1] * w[2] - v[2] * w[1]) - u[1] * (v[0] * w[2] - v[2] * w[0]) + u[2] * (v[0] * w[1] - v[1] * w[0]);
    return [[away, b, c], [a, away, c], [a, b, away]].map((three) => volumeOf(...three) / volumeOf(a, b, c));
  };
  note("Loading the volume …");
  try {
    await viewer.attachToCanvas(canvas, false); // slices gain nothing from smoothed edges
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    await viewer.loadVolumes([
      { url: `${facts.base}/volume.nii.gz`, name: "volume.nii.gz", colormap: "gray", cal_min: facts.windows[0][1], cal_max: facts.windows[0][2] },
      { url: `${facts.base}/heat.nii.gz`, name: "heat.nii.gz", colormap: "inferno", opacity: 0.6, cal_min: 64, cal_max: 255 },
    ]);
  } catch (error) {
    console.error(error);
    note("The volume cannot be shown; the study may be being scanned anew. Reload the page.");
    return;
  }
  note("");
  const [volume, heat] = viewer.volumes;

  const showWindow = () => {
    const [, low, high] = facts.windows[windows.value];
    [volume.cal_min, volume.cal_max] = [low, high];
    viewer.updateGLVolume();
  };
  let waiting = 0;
  const soon = (job) => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(job); };
  const showHeat = () => {
    const threshold = Number(field("threshold").value) / 100;
    [heat.cal_min, heat.cal_max] = [255 * threshold, 255];
    heat.opacity = field("heat-on").checked ? Number(field("opacity").value) / 100 : 0;
    viewer.updateGLVolume();
  };
  field("opacity").addEventListener("input", (event) => { field("opacity-said").value = `${event.target.value} %`; soon(showHeat); });
  field("threshold").addEventListener("input", (event) => { field("threshold-said").value = (event.target.value / 100).toFixed(2); soon(showHeat); });
  field("heat-on").addEventListener("change", showHeat);
  windows.addEventListener("change", showWindow);

  /** Crosshair to a voxel of the file, (x, y, z). */
  const to = (x, y, z) => {
    const at = volume.hdr.affine.slice(0, 3).map((line) => line[0] * x + line[1] * y + line[2] * z + line[3]);
    viewer.scene.crosshairPos = viewer.mm2frac([...at, 1]);
    viewer.drawScene();
    viewer.createOnLocationChange?.();
  };
  for (const button of document.querySelectorAll("[data-finding]")) {
    button.addEventListener("click", () => {
      document.querySelector("[data-finding][aria-current]")?.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      const [x0, y0, z0, x1, y1, z1] = facts.findings[Number(button.dataset.finding)];
      to((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2, (z0 + z1 - 1) / 2);
      kit.say(`The three planes go through finding ${Number(button.dataset.finding) + 1}.`);
    });
  }
  const reset = () => {
    viewer.scene.pan2Dxyzmm = [0, 0, 0, 1];
    windows.value = 0;
    showWindow();
    viewer.drawScene();
  };
  document.querySelector("[data-do=fit]").addEventListener("click", reset);
  const cross = document.querySelector("[data-do=cross]");
  cross.addEventListener("click", () => {
    const on = cross.getAttribute("aria-pressed") !== "true";
    cross.setAttribute("aria-pressed", on);
    viewer.setCrosshairWidth(on ? 1 : 0);
  });
  Object.assign(kit.keys, {
    h: () => { field("heat-on").click(); kit.say(field("heat-on").checked ? "Heat is shown." : "Heat is hidden."); },
    0: reset, x: () => cross.click(),
  });
  if (facts.findings.length && facts.findings[0].length === 6) document.querySelector("[data-finding]").click();
  place.dataset.volume = "open";
})();
