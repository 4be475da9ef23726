/** What the page and its decoding worker say to each other. */
import type { Packed } from "../prompts/prompt";

export type Provider = "wasm" | "webgpu";
export type Outputs = "single" | "three";

export type Request =
  | { id: number; kind: "open"; graph: ArrayBuffer; numThreads: number; provider: Provider; logitSize: number }
  | { id: number; kind: "embedding"; key: string; features: Float32Array; shape: [number, number, number] }
  | { id: number; kind: "decode"; key: string; packed: Packed; outputs: Outputs };

export interface Decoded {
  /** One mask's L * L logits after the other's: one mask, or three. */
  logits: Float32Array;
  /** Of the single mask and of the three. */
  predictedIou: Float32Array;
  milliseconds: number;
}

export type Answer =
  | { id: number; kind: "opened"; numThreads: number }
  | { id: number; kind: "kept" }
  | { id: number; kind: "decoded"; decoded: Decoded }
  | { id: number; kind: "failed"; detail: string };
