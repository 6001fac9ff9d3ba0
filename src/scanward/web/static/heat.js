"use strict";
// Heat over an image: its colours and its controls, for films and volumes alike.
(() => {
  // The inferno scale from its purple on: its black end would read as dark tissue.
  const STOPS = [[87, 16, 110], [120, 28, 109], [152, 39, 102], [184, 50, 85], [212, 72, 66], [234, 99, 41], [247, 133, 14], [251, 170, 16], [246, 213, 70], [250, 253, 161]];
  const colour = (part) => {
    const at = Math.min(STOPS.length - 1.001, part * (STOPS.length - 1));
    const [low, high, mix] = [STOPS[Math.floor(at)], STOPS[Math.floor(at) + 1], at % 1];
    return low.map((value, i) => value + (high[i] - value) * mix);
  };

  /** RGBA, little-endian, of each heat from 0 to 255; clear below the threshold in [0, 1]. */
  kit.heatTable = (threshold) => {
    const table = new Uint32Array(256);
    for (let value = 0; value < 256; value += 1) {
      if (value / 255 < threshold || !value) continue;
      const part = (value / 255 - threshold) / Math.max(1e-6, 1 - threshold);
      const [red, green, blue] = colour(part);
      const alpha = Math.round(255 * (0.45 + 0.55 * Math.sqrt(part)));
      table[value] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
    return table;
  };

  /** The heat of a volume's every voxel, 0 to 255, (z, y, x). */
  kit.loadHeat = async (base, [slices, rows, columns]) => {
    const answer = await kit.load(`${base}/heat.nii.gz`);
    const data = await new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    const first = new DataView(data).getFloat32(108, true); // NIfTI-1: vox_offset
    return new Uint8Array(data, first, slices * rows * columns);
  };

  /** The sliders, the box and its key: `draw` where only the opacity is another, `recolour` for the threshold. */
  kit.heatControls = (draw, recolour) => {
    const [on, opacity, threshold] = ["heat-on", "opacity", "threshold"].map((name) => document.getElementById(name));
    let waiting = 0;
    const soon = (job) => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(job); };
    const said = () => {
      document.getElementById("opacity-said").value = `${opacity.value} %`;
      document.getElementById("threshold-said").value = (threshold.value / 100).toFixed(2);
    };
    opacity.addEventListener("input", () => { said(); soon(draw); });
    threshold.addEventListener("input", () => { said(); soon(recolour); });
    on.addEventListener("change", draw);
    kit.keys.h = () => { on.click(); kit.say(on.checked ? "Heat is shown." : "Heat is hidden."); };
  };
})();
