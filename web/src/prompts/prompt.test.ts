import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import type { Mask } from "../masks/mask";
import { pack, type Prompt } from "./prompt";

interface Vectors {
  prompts: {
    image_hw: [number, number];
    input_size: number;
    points_xy: [number, number][];
    labels: (0 | 1)[];
    box_xyxy: [number, number, number, number] | null;
    packed_coords: [number, number][];
    packed_labels: number[];
  }[];
}

const vectors = JSON.parse(
  readFileSync(resolve(import.meta.dirname, "../../../tests/vectors/prompts.json"), "utf8"),
) as Vectors;
const RULES = { fillsBoxes: false, maskMagnitude: 20, boxMagnitude: 10 };
const FRAME = { imageHeight: 32, imageWidth: 64, inputSize: 64, logitSize: 16 };
const EMPTY: Prompt = { points: [], box: null, mask: null, logits: null };

function rectangle(width: number, height: number, x0: number, y0: number, x1: number, y1: number): Mask {
  const data = new Uint8Array(width * height);
  for (let y = y0; y < y1; y++) data.fill(1, y * width + x0, y * width + x1);
  return { width, height, data };
}

describe("the shared vectors of prompts", () => {
  it.each(vectors.prompts.map((one, index) => [index, one] as const))("number %i", (_, one) => {
    const [imageHeight, imageWidth] = one.image_hw;
    const frame = { imageHeight, imageWidth, inputSize: one.input_size, logitSize: one.input_size / 4 };
    const points = one.points_xy.map(([x, y], index) => ({ x, y, label: one.labels[index]! }));
    const corners = one.box_xyxy;
    const box = corners && { x0: corners[0], y0: corners[1], x1: corners[2], y1: corners[3] };
    const packed = pack({ points, box, mask: null, logits: null }, frame, RULES);
    expect([...packed.labels]).toEqual(one.packed_labels.map(BigInt));
    expect(packed.coords).toEqual(Float32Array.from(one.packed_coords.flat()));
    expect(packed.maskLogits).toBeNull();
  });
});

describe("what goes in as mask logits", () => {
  it("is the box filled, for a model that wants it", () => {
    const box = { x0: 16, y0: 8, x1: 31, y1: 15 };
    const { maskLogits } = pack({ ...EMPTY, box }, FRAME, { ...RULES, fillsBoxes: true });
    // Corners at 3.625, 1.625 and 7.375, 3.375 of the logit frame, rounded, both included.
    const wanted = Float32Array.from(rectangle(16, 16, 4, 2, 8, 4).data, (value) => (value ? 10 : -10));
    expect(maskLogits).toEqual(wanted);
    expect(pack({ ...EMPTY, box }, FRAME, RULES).maskLogits).toBeNull();
  });

  it("is an earlier answer as it came, before a mask or a filled box", () => {
    const logits = new Float32Array(256).fill(1.5);
    const prompt = { points: [], box: { x0: 0, y0: 0, x1: 9, y1: 9 }, mask: rectangle(64, 32, 0, 0, 9, 9), logits };
    expect(pack(prompt, FRAME, { ...RULES, fillsBoxes: true }).maskLogits).toBe(logits);
  });

  it("is a mask's share of each logit, to the mask magnitude", () => {
    const mask = rectangle(64, 32, 16, 8, 34, 20);
    const logits = pack({ ...EMPTY, mask }, FRAME, RULES).maskLogits!;
    const at = (x: number, y: number): number => logits[y * 16 + x]!;
    expect([at(4, 2), at(7, 4), at(3, 2), at(4, 1), at(4, 5), at(9, 3), at(15, 15)]).toEqual([
      20, 20, -20, -20, -20, -20, -20,
    ]);
    expect(at(8, 3)).toBeCloseTo(0, 4);
  });
});

describe("a mask alone", () => {
  it("brings its box and its innermost point", () => {
    const { coords, labels } = pack({ ...EMPTY, mask: rectangle(64, 32, 20, 10, 29, 19) }, FRAME, RULES);
    expect([...labels]).toEqual([1n, 2n, 3n]);
    expect([...coords]).toEqual([24, 14, 20, 10, 28, 18]);
  });

  it("brings no more where there are points", () => {
    const prompt = { ...EMPTY, points: [{ x: 3, y: 4, label: 0 as const }], mask: rectangle(64, 32, 20, 10, 29, 19) };
    expect([...pack(prompt, FRAME, RULES).labels]).toEqual([0n, -1n]);
  });
});

it("refuses a prompt with nothing in it", () => {
  expect(() => pack(EMPTY, FRAME, RULES)).toThrow(RangeError);
  expect(() => pack({ ...EMPTY, mask: rectangle(64, 32, 0, 0, 0, 0) }, FRAME, RULES)).toThrow(RangeError);
});

it("takes logits alone", () => {
  const logits = new Float32Array(256);
  expect(pack({ ...EMPTY, logits }, FRAME, RULES)).toEqual({
    coords: new Float32Array(0), labels: new BigInt64Array(0), maskLogits: logits,
  });
});
