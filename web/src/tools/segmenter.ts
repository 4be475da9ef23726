/**
 * Opens the decoder with the threads that the page may have, and by WebGPU only where its masks agree with WebAssembly's.
 */
import type { Model } from "../api/client";
import { Decoder, type Provider } from "../decoder/decoder";
import type { Frame } from "../geometry/frame";
import { pack } from "../prompts/prompt";

const MOST_THREADS = 4;
const LEAST_AGREEMENT = 0.99;

export interface Opened {
  decoder: Decoder;
  /** A short word for the page's corner, or where something is not as it could be. */
  note: string;
}

export function allowedThreads(): number {
  return globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}

/** The decoder in WebAssembly, or in WebGPU where wanted and its masks match. */
export async function openDecoder(graph: ArrayBuffer, model: Model, wanted: Provider): Promise<Opened> {
  const options = { graph, numThreads: allowedThreads(), logitSize: model.logit_size };
  const wasm = await Decoder.open({ ...options, provider: "wasm" });
  const plain = { decoder: wasm, note: threadNote(wasm.numThreads) };
  if (wanted === "wasm") return plain;
  if (!("gpu" in navigator)) return { ...plain, note: "WebGPU is not available here; decoding in WebAssembly" };
  let gpu: Decoder;
  try {
    gpu = await Decoder.open({ ...options, provider: "webgpu" });
  } catch {
    return { ...plain, note: "WebGPU did not start; decoding in WebAssembly" };
  }
  const agreement = await compare(wasm, gpu, model).catch(() => 0);
  if (agreement < LEAST_AGREEMENT) {
    gpu.close();
    return { ...plain, note: "WebGPU's masks differ here; decoding in WebAssembly" };
  }
  wasm.close();
  return { decoder: gpu, note: "WebGPU" };
}

function threadNote(numThreads: number): string {
  if (!globalThis.crossOriginIsolated) return "1 thread: the page is not a secure context";
  return numThreads === 1 ? "1 thread" : `${numThreads} threads`;
}

/** IoU of both decoders' masks of a probe prompt on features that any image could have. */
async function compare(one: Decoder, other: Decoder, model: Model): Promise<number> {
  const { num_channels, grid_size, input_size, logit_size } = model;
  const features = probeFeatures(num_channels * grid_size ** 2);
  const frame: Frame = { imageHeight: input_size, imageWidth: input_size, inputSize: input_size, logitSize: logit_size };
  const middle = input_size / 2;
  const prompt = { points: [{ x: middle, y: middle, label: 1 as const }], box: null, mask: null, logits: null };
  const answers = await Promise.all(
    [one, other].map(async (decoder) => {
      await decoder.setEmbedding("probe", features, [num_channels, grid_size, grid_size]);
      return (await decoder.decode("probe", pack(prompt, frame, packRules(model)), "three")).logits;
    }),
  );
  return agreementOf(answers[0]!, answers[1]!);
}

/** Fixed numbers between -1 and 1 that vary slowly, as an encoder's do. */
function probeFeatures(length: number): Float32Array {
  return Float32Array.from({ length }, (_, index) => Math.sin(index * 0.37) * Math.cos(index * 0.011));
}

function agreementOf(one: Float32Array, other: Float32Array): number {
  let both = 0;
  let either = 0;
  for (let index = 0; index < one.length; index++) {
    const first = one[index]! > 0;
    const second = other[index]! > 0;
    if (first && second) both++;
    if (first || second) either++;
  }
  return either ? both / either : 1;
}

/** What packing a prompt needs to know of the model. */
export function packRules(model: Model): Parameters<typeof pack>[2] {
  return {
    fillsBoxes: model.fills_boxes,
    maskMagnitude: model.mask_magnitude,
    boxMagnitude: model.box_magnitude,
  };
}
