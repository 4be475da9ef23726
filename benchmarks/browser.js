// Runs where a page runs its decoder: in a worker, whose waiting for other threads keeps nothing else waiting.
import * as ort from "/ort/ort.wasm.min.mjs";

const SEED = 7;

/** Numbers that are the same at every run. */
function* random() {
  let state = SEED;
  for (;;) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

/** Milliseconds of each of `times` single clicks from the first on, three low-resolution masks each. */
const timeDecoder = async ({ graph, threads, channels, grid, inputSize, hasFloors, times }) => {
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = "/ort/";
  const content = await (await fetch(graph)).arrayBuffer();
  const session = await ort.InferenceSession.create(new Uint8Array(content), { executionProviders: ["wasm"] });
  const numbers = random();
  const values = Float32Array.from({ length: channels * grid * grid }, () => numbers.next().value - 0.5);
  const side = 4 * grid;
  // Ours takes no rows where there is no mask, the plain one a row to be ignored.
  const numMasks = hasFloors ? 0 : 1;
  const fixed = {
    features: new ort.Tensor("float32", values, [1, channels, grid, grid]),
    labels: new ort.Tensor("int64", BigInt64Array.from([1n, -1n]), [1, 2]),
    mask_logits: new ort.Tensor("float32", new Float32Array(numMasks * side * side), [numMasks, 1, side, side]),
    has_mask: new ort.Tensor("float32", new Float32Array(numMasks), [numMasks]),
  };
  if (hasFloors) {
    fixed.floors = new ort.Tensor("float32", Float32Array.from([Infinity, -Infinity, -Infinity, -Infinity]), [4]);
  }
  const milliseconds = [];
  for (let run = 0; run < times; run++) {
    const xy = [numbers.next().value * inputSize, numbers.next().value * inputSize, 0, 0];
    const coords = new ort.Tensor("float32", Float32Array.from(xy), [1, 2, 2]);
    const start = performance.now();
    await session.run({ ...fixed, coords });
    milliseconds.push(performance.now() - start);
  }
  await session.release();
  return { milliseconds, isolated: crossOriginIsolated };
};

onmessage = ({ data }) => {
  timeDecoder(data).then(
    (found) => postMessage(found),
    (error) => postMessage({ error: String(error) }),
  );
};
postMessage("loaded");
