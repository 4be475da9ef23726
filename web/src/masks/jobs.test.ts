import { describe, expect, it } from "vitest";
import { logitsToImage, type Frame } from "../geometry/frame";
import { pack } from "../prompts/prompt";
import { jobs } from "./jobs";
import { decode, encode } from "./rle";
import { rleOf, shapeOf } from "./shape";

const FRAME: Frame = { imageHeight: 21, imageWidth: 34, inputSize: 64, logitSize: 16 };

function logitsOf(seed: number): Float32Array {
  return Float32Array.from({ length: 256 }, (_, index) => Math.sin(seed + index * 0.7) + Math.cos(index * 0.05 * seed));
}

describe("shapes of logits", () => {
  it("have the pixels whose logit is above zero", async () => {
    const shapes = await jobs.upscale([logitsOf(1), logitsOf(2)], FRAME, { x0: 0, y0: 0, width: 34, height: 21 }, null);
    shapes.forEach((shape, index) => {
      const wanted = Uint8Array.from(logitsToImage(logitsOf(index + 1), FRAME), (value) => (value > 0 ? 1 : 0));
      expect(shape).toEqual(shapeOf({ width: 34, height: 21, data: wanted }));
    });
  });

  it("of a part of the image are at its place in the whole", async () => {
    const [shape] = await jobs.upscale([logitsOf(3)], FRAME, { x0: 5, y0: 7, width: 50, height: 40 }, null);
    const part = logitsToImage(logitsOf(3), FRAME);
    const data = new Uint8Array(50 * 40);
    for (let y = 0; y < 21; y++) {
      for (let x = 0; x < 34; x++) data[(y + 7) * 50 + x + 5] = part[y * 34 + x]! > 0 ? 1 : 0;
    }
    expect(shape).toEqual(shapeOf({ width: 50, height: 40, data }));
  });

  it("below zero are empty, at the image's size", async () => {
    const [shape] = await jobs.upscale([new Float32Array(256).fill(-1)], FRAME, { x0: 0, y0: 0, width: 34, height: 21 }, null);
    expect(shape).toEqual(shapeOf({ width: 34, height: 21, data: new Uint8Array(34 * 21) }));
    expect(decode(rleOf(shape!)).data).toHaveLength(34 * 21);
  });
});

it("traces masks that came as run lengths, and says of others what is wrong", () => {
  const mask = { width: 4, height: 3, data: Uint8Array.from("011001100000", Number) };
  expect(jobs.trace([encode(mask)])).toEqual([shapeOf(mask)]);
  expect(() => jobs.trace([{ size: [3, 4], counts: "0" }])).toThrow(RangeError);
});

it("packs a shape as the mask that it is", () => {
  const data = new Uint8Array(34 * 21);
  for (let y = 4; y < 12; y++) data.fill(1, y * 34 + 6, y * 34 + 20);
  const mask = { width: 34, height: 21, data };
  const rules = { fillsBoxes: false, maskMagnitude: 20, boxMagnitude: 10 };
  const rest = { points: [{ x: 8, y: 9, label: 1 as const }], box: null, logits: null };
  expect(jobs.pack({ ...rest, mask: shapeOf(mask) }, FRAME, rules)).toEqual(pack({ ...rest, mask }, FRAME, rules));
});
