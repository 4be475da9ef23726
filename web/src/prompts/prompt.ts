/** What a user asks for one object, and the rule by which it becomes the decoder's arrays. */
import { boxToLogit, pointToInput, type Box, type Frame } from "../geometry/frame";
import { innermost } from "../masks/innermost";
import { box as maskBox, type Mask } from "../masks/mask";
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
  if (!mask || logits || points.length || box) return prompt;
  const point = innermost(mask);
  return point ? { ...prompt, points: [{ ...point, label: 1 }], box: maskBox(mask) } : prompt;
}
