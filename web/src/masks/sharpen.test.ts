import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { guideOf, sharpen, type Pixels } from "./sharpen";

interface Case {
  image_hw: [number, number];
  input_size: number;
  logit_size: number;
  pixels: number[];
  logits: number[];
  sharpened: string[];
}

const VECTORS = JSON.parse(readFileSync(new URL("../../../tests/vectors/sharpen.json", import.meta.url), "utf8")) as {
  masks: Case[];
};

function pixelsOf(width: number, height: number, color: (index: number) => [number, number, number]): Pixels {
  const data = new Uint8ClampedArray(width * height * 4);
  for (let index = 0; index < width * height; index++) data.set([...color(index), 255], index * 4);
  return { width, height, data };
}

describe("the shared masks", () => {
  it.each(VECTORS.masks.map((one, index) => [index, one] as const))("number %i", (_, one) => {
    const [height, width] = one.image_hw;
    const frame = { imageHeight: height, imageWidth: width, inputSize: one.input_size, logitSize: one.logit_size };
    const pixels = pixelsOf(width, height, (index) => one.pixels.slice(3 * index, 3 * index + 3) as [number, number, number]);
    const found = sharpen(Float32Array.from(one.logits), guideOf(pixels, frame));
    expect(found === null).toBe(one.sharpened.length === 0);
    const cell = (x: number, y: number): string => {
      if (one.sharpened[y]![x] === "?") return "?";
      const [column, row] = [x - found!.x0, y - found!.y0];
      const isInside = column >= 0 && row >= 0 && column < found!.width && row < found!.height;
      return isInside && found!.data[row * found!.width + column] ? "1" : ".";
    };
    const rows = one.sharpened.map((row, y) => Array.from(row, (_, x) => cell(x, y)).join(""));
    expect(rows).toEqual(one.sharpened);
  });
});

it.each([[1, 1], [1, 300], [200, 2], [3, 5]])("sharpens pictures of any shape, %i by %i", (width, height) => {
  const frame = { imageHeight: height, imageWidth: width, inputSize: 128, logitSize: 64 };
  const pixels = pixelsOf(width, height, (index) => [(index * 37) % 256, (index * 91) % 256, (index * 53) % 256]);
  const found = sharpen(new Float32Array(64 * 64).fill(3), guideOf(pixels, frame));
  expect(found!.data.reduce((sum, one) => sum + one, 0)).toBeGreaterThan(0.9 * width * height);
});

it("leaves what is empty or too small as it is", () => {
  const frame = { imageHeight: 64, imageWidth: 64, inputSize: 64, logitSize: 64 };
  const guide = guideOf(pixelsOf(64, 64, () => [90, 90, 90]), frame);
  const logits = new Float32Array(64 * 64).fill(-2);
  expect(sharpen(logits, guide)).toBeNull();
  logits.fill(2, 70, 72);
  expect(sharpen(logits, guide)).toBeNull();
});
