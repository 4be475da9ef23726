/**
 * Runs the decoder graph off the main thread, by ONNX Runtime in WebAssembly, or WebGPU where asked for.
 */
import mjsUrl from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import type { InferenceSession, Tensor } from "onnxruntime-web/wasm";
import type { Answer, Decoded, Outputs, Request } from "./messages";

type Runtime = typeof import("onnxruntime-web/wasm");
type Of<Kind extends Request["kind"]> = Extract<Request, { kind: Kind }>;

const MOST_EMBEDDINGS = 4;
const FLOORS: Record<Outputs, number[]> = {
  single: [-Infinity, Infinity, Infinity, Infinity],
  three: [Infinity, -Infinity, -Infinity, -Infinity],
};

let runtime: Runtime;
let session: InferenceSession;
let noMask: Tensor;
let logitSize = 0;
const embeddings = new Map<string, Tensor>();
let queue: Promise<void> = Promise.resolve();
let numWaiting = 0;
// A browser gives WebAssembly its fast form only after it has run for a while: clicks that nobody made see to that.
let warmingRuns = 50;

self.onmessage = ({ data }: MessageEvent<Request>) => {
  numWaiting++;
  // One after another: the runtime takes no second request while it works on one.
  queue = queue.then(async () => {
    await handle(data);
    numWaiting--;
    warm();
  });
};

/** Run a click that nobody made, and another after it, as long as nothing is asked for. */
function warm(): void {
  const key = embeddings.keys().next().value;
  if (numWaiting || warmingRuns <= 0 || !key) return;
  // By way of the event loop, where a request that has come meanwhile goes first.
  setTimeout(() => {
    if (numWaiting) return;
    const coords = new Float32Array([logitSize, logitSize, 0, 0]);
    const packed = { coords, labels: new BigInt64Array([1n, -1n]), maskLogits: null };
    queue = queue.then(() => decode({ key, packed, outputs: "single" })).then(warm, () => undefined);
  });
}

async function handle(request: Request): Promise<void> {
  try {
    const [answer, transferred] = await respond(request);
    self.postMessage(answer, { transfer: transferred });
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    self.postMessage({ id: request.id, kind: "failed", detail } satisfies Answer);
  }
}

async function respond(request: Request): Promise<[Answer, Transferable[]]> {
  const { id } = request;
  if (request.kind === "open") return [{ id, kind: "opened", numThreads: await open(request) }, []];
  if (request.kind === "embedding") {
    keep(request);
    return [{ id, kind: "kept" }, []];
  }
  const decoded = await decode(request);
  return [{ id, kind: "decoded", decoded }, [decoded.logits.buffer, decoded.predictedIou.buffer]];
}

async function open(request: Of<"open">): Promise<number> {
  if (request.provider === "webgpu") {
    const [gpu, mjs, wasm] = await Promise.all([
      import("onnxruntime-web/webgpu"),
      import("onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url"),
      import("onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url"),
    ]);
    runtime = gpu as unknown as Runtime;
    runtime.env.wasm.wasmPaths = { mjs: absolute(mjs.default), wasm: absolute(wasm.default) };
  } else {
    runtime = await import("onnxruntime-web/wasm");
    runtime.env.wasm.wasmPaths = { mjs: absolute(mjsUrl), wasm: absolute(wasmUrl) };
  }
  runtime.env.wasm.numThreads = request.numThreads;
  runtime.env.logLevel = "error";
  session = await runtime.InferenceSession.create(new Uint8Array(request.graph), {
    executionProviders: [request.provider],
    graphOptimizationLevel: "all",
  });
  logitSize = request.logitSize;
  noMask = new runtime.Tensor("float32", new Float32Array(0), [0, 1, logitSize, logitSize]);
  return runtime.env.wasm.numThreads ?? 1;
}

function absolute(url: string): string {
  return new URL(url, import.meta.url).href;
}

function keep({ key, features, shape }: Of<"embedding">): void {
  embeddings.delete(key);
  embeddings.set(key, new runtime.Tensor("float32", features, [1, ...shape]));
  for (const old of embeddings.keys()) {
    if (embeddings.size <= MOST_EMBEDDINGS) break;
    embeddings.delete(old);
  }
}

async function decode({ key, packed, outputs }: Omit<Of<"decode">, "id" | "kind">): Promise<Decoded> {
  const features = embeddings.get(key);
  if (!features) throw new Error("unknown embedding");
  embeddings.delete(key);
  embeddings.set(key, features); // the newest used are kept
  const { Tensor } = runtime;
  const num = packed.labels.length;
  warmingRuns--;
  const { maskLogits } = packed;
  const started = performance.now();
  const answer = await session.run({
    features,
    coords: new Tensor("float32", packed.coords, [1, num, 2]),
    labels: new Tensor("int64", packed.labels, [1, num]),
    mask_logits: maskLogits ? new Tensor("float32", maskLogits, [1, 1, logitSize, logitSize]) : noMask,
    has_mask: maskLogits ? new Tensor("float32", new Float32Array([1]), [1]) : new Tensor("float32", new Float32Array(0), [0]),
    floors: new Tensor("float32", new Float32Array(FLOORS[outputs]), [4]),
  });
  const milliseconds = performance.now() - started;
  // Copies: the runtime's memory is not ours to give away.
  const logits = Float32Array.from(answer["logits"]!.data as Float32Array);
  const predictedIou = Float32Array.from(answer["predicted_iou"]!.data as Float32Array);
  return { logits, predictedIou, milliseconds };
}
