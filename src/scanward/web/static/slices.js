"use strict";
// A CT's voxels as they come: HU slice by slice, those first that are looked at; heat as one file.
(() => {
  const AT_ONCE = 4;
  const TRIES = 4;
  const sleep = (seconds) => new Promise((done) => { setTimeout(done, 1000 * seconds); });

  /** An answer's bytes. The server's limits are for everybody: who is told to wait, waits. */
  const load = async (address) => {
    for (let turn = 1; ; turn += 1) {
      const answer = await fetch(address);
      if (answer.ok) return answer;
      if (turn === TRIES || (answer.status !== 429 && answer.status !== 503)) throw new Error(`${address}: ${answer.status}`);
      await sleep(Number(answer.headers.get("Retry-After")) || turn);
    }
  };

  /** `values` (z, y, x) fill as slices come; `came(z)` is told of each, `wanted()` says near which one to go on. */
  kit.loadSlices = (base, [slices, rows, columns], wanted, came) => {
    const size = rows * columns;
    const volume = { values: new Int16Array(slices * size), there: new Uint8Array(slices) };
    const asked = new Uint8Array(slices);
    const nearest = () => {
      const from = wanted();
      for (let away = 0; away < slices; away += 1) {
        for (const z of [from + away, from - away]) if (z >= 0 && z < slices && !asked[z]) return z;
      }
      return -1;
    };
    const work = async () => {
      for (let z = nearest(); z >= 0; z = nearest()) {
        asked[z] = 1;
        const answer = await load(`${base}/volume/${z}`);
        const data = await answer.arrayBuffer();
        if (data.byteLength !== 2 * size || answer.headers.get("X-Shape") !== `${rows},${columns}`) throw new Error(`slice ${z} is another's`);
        volume.values.set(new Int16Array(data), z * size);
        volume.there[z] = 1;
        came(z);
      }
    };
    volume.whole = Promise.all(Array.from({ length: AT_ONCE }, work));
    return volume;
  };

  /** The heat of every voxel, 0 to 255, (z, y, x). */
  kit.loadHeat = async (base, [slices, rows, columns]) => {
    const answer = await load(`${base}/heat.nii.gz`);
    const data = await new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    const first = new DataView(data).getFloat32(108, true); // NIfTI-1: vox_offset
    return new Uint8Array(data, first, slices * rows * columns);
  };
})();
