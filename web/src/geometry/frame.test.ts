import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { boxToLogit, contentSize, logitsToImage, logitsToMask, pointToInput, type Frame } from "./frame";

interface FrameFields {
  image_hw: [number, number];
  input_size: number;
  logit_size: number;
}
interface Vectors {
  frames: (FrameFields & {
    content_hw: [number, number];
    points: { image_xy: [number, number]; input_xy: [number, number] }[];
  })[];
  logits_to_image: (FrameFields & { logits: number[][]; image: number[][] })[];
}

const vectors = JSON.parse(
  readFileSync(resolve(import.meta.dirname, "../../../tests/vectors/frames.json"), "utf8"),
) as Vectors;

function frameOf(one: FrameFields): Frame {
  const [imageHeight, imageWidth] = one.image_hw;
  return { imageHeight, imageWidth, inputSize: one.input_size, logitSize: one.logit_size };
}

/** Numbers in [-1, 1), the same on every run. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 31 - 1;
  }
}

function randomLogits(side: number, seed: number): Float32Array {
  const source = numbers(seed);
  return Float32Array.from({ length: side * side }, () => source.next().value * 8);
}

describe("the shared vectors of frames", () => {
  it.each(vectors.frames.map((one) => [one.image_hw.join("x"), one] as const))("%s", (_, one) => {
    const frame = frameOf(one);
    expect(contentSize(frame)).toEqual({ height: one.content_hw[0], width: one.content_hw[1] });
    for (const { image_xy: from, input_xy: to } of one.points) {
      const got = pointToInput({ x: from[0], y: from[1] }, frame);
      expect(got.x).toBeCloseTo(to[0], 9);
      expect(got.y).toBeCloseTo(to[1], 9);
    }
  });

  it.each(vectors.logits_to_image.map((one) => [one.image_hw.join("x"), one] as const))("logits at %s", (_, one) => {
    const got = logitsToImage(Float32Array.from(one.logits.flat()), frameOf(one));
    const wanted = one.image.flat();
    expect(got).toHaveLength(wanted.length);
    wanted.forEach((value, index) => expect(Math.abs(got[index]! - value)).toBeLessThan(1e-4));
  });
});

describe("logits at the image's size", () => {
  const sizes: [number, number][] = [[1, 1], [1, 37], [41, 1], [7, 13], [31, 17], [63, 65], [129, 95], [101, 203]];

  it.each(sizes)("make the same mask at %i x %i as their sign", (imageHeight, imageWidth) => {
    const frame = { imageHeight, imageWidth, inputSize: 64, logitSize: 16 };
    const logits = randomLogits(16, imageHeight * 1000 + imageWidth);
    for (const threshold of [0, 2.5]) {
      const mask = logitsToMask(logits, frame, threshold);
      const whole = new Uint8Array(imageHeight * imageWidth);
      for (let y = 0; mask && y < mask.height; y++) {
        whole.set(mask.data.subarray(y * mask.width, (y + 1) * mask.width), (y + mask.y0) * imageWidth + mask.x0);
      }
      const wanted = Uint8Array.from(logitsToImage(logits, frame), (value) => (value > threshold ? 1 : 0));
      expect(whole).toEqual(wanted);
    }
  });

  it("are of a window what they are of the whole there", () => {
    const frame = { imageHeight: 45, imageWidth: 71, inputSize: 64, logitSize: 16 };
    const logits = randomLogits(16, 7);
    const whole = logitsToImage(logits, frame);
    const [x0, y0, x1, y1] = [13, 5, 70, 44];
    const part = logitsToImage(logits, frame, { x0, y0, x1, y1 });
    expect(part).toHaveLength((x1 - x0) * (y1 - y0));
    for (let y = y0; y < y1; y++) {
      const row = part.subarray((y - y0) * (x1 - x0), (y - y0 + 1) * (x1 - x0));
      expect(row).toEqual(whole.subarray(y * 71 + x0, y * 71 + x1));
    }
  });

  it("stay what they are where all are one number", () => {
    const frame = { imageHeight: 33, imageWidth: 21, inputSize: 64, logitSize: 16 };
    for (const value of logitsToImage(new Float32Array(256).fill(3), frame)) expect(value).toBeCloseTo(3, 5);
  });
});

it("keeps the edges of pixels when a box goes to the logit frame", () => {
  const frame = { imageHeight: 1024, imageWidth: 1024, inputSize: 1024, logitSize: 256 };
  const half = 0.5;
  const box = boxToLogit({ x0: -half, y0: 4 - half, x1: 1024 - half, y1: 512 - half }, frame);
  expect(box).toEqual({ x0: -half, y0: 1 - half, x1: 256 - half, y1: 128 - half });
});
