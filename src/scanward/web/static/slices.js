"use strict";
// A CT's voxels as they come: HU slice by slice, those first that are looked at.
(() => {
  const AT_ONCE = 4;
  const TRIES = 4;
  const sleep = (seconds) => new Promise((done) => { setTimeout(done, 1000 * seconds); });

  /** An answer's bytes. The server's limits are for everybody: who is told to wait, waits. */
  kit.load = async (address) => {
    for (let turn = 1; ; turn += 1) {
      const answer = await fetch(address);
      if (answer.ok) return answer;
      if (turn === TRIES || (answer.status !== 429 && answer.status !== 503)) throw new Error(`${address}: ${answer.status}`);
      await sleep(Number(answer.headers.get("Retry-After")) || turn);
    }
  };

  /** `values` (z, y, x) fill as slices come; `came(z)` is told of each, `wanted()` says near which one to go on; after
   *  `stop()` no more come. */
  kit.loadSlices = (base, [slices, rows, columns], wanted, came) => {
    const size = rows * columns;
    let stopped = false;
    const volume = { values: new Int16Array(slices * size), there: new Uint8Array(slices), stop: () => { stopped = true; } };
    const asked = new Uint8Array(slices);
    const nearest = () => {
      const from = wanted();
      for (let away = 0; away < slices; away += 1) {
        for (const z of [from + away, from - away]) if (z >= 0 && z < slices && !asked[z]) return z;
      }
      return -1;
    };
    const work = async () => {
      for (let z = nearest(); z >= 0 && !stopped; z = nearest()) {
        asked[z] = 1;
        const answer = await kit.load(`${base}/volume/${z}`);
        const data = await answer.arrayBuffer();
        if (stopped) return;
        if (data.byteLength !== 2 * size || answer.headers.get("X-Shape") !== `${rows},${columns}`) throw new Error(`slice ${z} is another's`);
        volume.values.set(new Int16Array(data), z * size);
        volume.there[z] = 1;
        came(z);
      }
    };
    volume.whole = Promise.all(Array.from({ length: AT_ONCE }, work));
    return volume;
  };
})();
