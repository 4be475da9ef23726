/** What a user asks for one object, and the rule by which it becomes the decoder's arrays. */
import { boxToLogit, pointToInput, type Box, type Frame } from "../geometry/frame";
import { area, type Mask } from "../masks/mask";
import { box as maskBox } from "../masks/mask";
import { maskToLogit } from "./shrink";

export interface LabelledPoint {
  x: number;
  y: number;
  /** 1 the object, 0 not the object. */
  label: 0 | 1;
}

export interface Prompt {
  points: readonly LabelledPoint[];
  box: Box | null;
  /** A rough mask in the image. */
  mask: Mask | null;
  /** Low-resolution logits of an earlier answer of the same embedding. */
  logits: Float32Array | null;
}

export interface Packed {
  coords: Float32Array;
  labels: BigInt64Array;
  maskLogits: Float32Array | null;
}

export interface PackRules {
  fillsBoxes: boolean;
  maskMagnitude: number;
  boxMagnitude: number;
}

/** The same numbers as the server's packing. Throws RangeError for a prompt with nothing in it. */
export function pack(prompt: Prompt, frame: Frame, rules: PackRules): Packed {
  const described = describe(prompt);
  const { points, box } = described;
  const coords = points.flatMap((point) => Object.values(pointToInput({ x: point.x, y: point.y }, frame)));
  const labels = points.map((point) => BigInt(point.label));
  if (box) {
    const first = pointToInput({ x: box.x0, y: box.y0 }, frame);
    const last = pointToInput({ x: box.x1, y: box.y1 }, frame);
    coords.push(first.x, first.y, last.x, last.y);
    labels.push(2n, 3n);
  } else if (points.length) {
    coords.push(0, 0);
    labels.push(-1n);
  }
  if (!labels.length && !described.logits) throw new RangeError("an empty prompt");
  return {
    coords: Float32Array.from(coords),
    labels: BigInt64Array.from(labels),
    maskLogits: maskLogits(described, frame, rules),
  };
}

function maskLogits(prompt: Prompt, frame: Frame, rules: PackRules): Float32Array | null {
  if (prompt.logits) return prompt.logits;
  if (prompt.mask) return maskToLogit(prompt.mask, frame).map((share) => (2 * share - 1) * rules.maskMagnitude);
  return prompt.box && rules.fillsBoxes ? boxLogits(prompt.box, frame, rules.boxMagnitude) : null;
}

function boxLogits(box: Box, frame: Frame, magnitude: number): Float32Array {
  const side = frame.logitSize;
  const { x0, y0, x1, y1 } = boxToLogit(box, frame);
  const [left, top, right, bottom] = [x0, y0, x1, y1].map((value) => Math.min(side - 1, Math.max(0, roundHalfEven(value))));
  const logits = new Float32Array(side * side).fill(-magnitude);
  for (let y = top!; y <= bottom!; y++) logits.fill(magnitude, y * side + left!, y * side + right! + 1);
  return logits;
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** A mask given alone brings its box and its innermost point along. */
function describe(prompt: Prompt): Prompt {
  const { mask, points, box, logits } = prompt;
  if (!mask || logits || points.length || box || !area(mask)) return prompt;
  const edges = maskBox(mask)!;
  return { ...prompt, points: [innermost(mask)], box: { x0: edges.x0, y0: edges.y0, x1: edges.x1 + 1, y1: edges.y1 + 1 } };
}

/** The pixel farthest from what is not the mask, the image's edge included. */
function innermost(mask: Mask): LabelledPoint {
  const { width, height, data } = mask;
  const far = Float32Array.from(data);
  const at = (x: number, y: number): number => (x < 0 || y < 0 || x >= width || y >= height ? 0 : far[y * width + x]!);
  const relax = (x: number, y: number, step: 1 | -1): void => {
    const index = y * width + x;
    if (!data[index]) return;
    const straight = Math.min(at(x - step, y), at(x, y - step)) + 1;
    const slanted = Math.min(at(x - step, y - step), at(x + step, y - step)) + Math.SQRT2;
    far[index] = step === 1 ? Math.min(straight, slanted) : Math.min(far[index]!, straight, slanted);
  };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) relax(x, y, 1);
  for (let y = height - 1; y >= 0; y--) for (let x = width - 1; x >= 0; x--) relax(x, y, -1);
  let best = 0;
  for (let index = 1; index < far.length; index++) if (far[index]! > far[best]!) best = index;
  return { x: best % width, y: Math.floor(best / width), label: 1 };
}
