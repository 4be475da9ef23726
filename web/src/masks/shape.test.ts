import { describe, expect, it } from "vitest";
import type { Mask } from "./mask";
import { decode } from "./rle";
import { holds, rleOf, shapeOf, thin } from "./shape";

function randomMask(seed: number): Mask {
  const [width, height] = [1 + (seed % 13), 1 + (seed % 9)];
  let state = seed * 7919;
  const data = Uint8Array.from({ length: width * height }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 < 0.2 + (seed % 4) / 5 ? 1 : 0;
  });
  return { width, height, data };
}

/** The mask with nothing around it. */
function pasted(mask: Mask, x0: number, y0: number, width: number, height: number): Mask {
  const data = new Uint8Array(width * height);
  for (let y = 0; y < mask.height; y++) {
    data.set(mask.data.subarray(y * mask.width, (y + 1) * mask.width), (y0 + y) * width + x0);
  }
  return { width, height, data };
}

describe("a shape", () => {
  it("of a part of an image is that of the whole with nothing around", () => {
    for (let seed = 1; seed <= 120; seed++) {
      const mask = randomMask(seed);
      const [x0, y0] = [seed % 3, seed % 4 ? 0 : 2];
      const [width, height] = [x0 + mask.width + (seed % 2), y0 + mask.height + (seed % 5 ? 0 : 3)];
      expect(shapeOf(mask, { x0, y0, width, height })).toEqual(shapeOf(pasted(mask, x0, y0, width, height)));
    }
  });

  it("has the pixels of its mask, and none beside", () => {
    for (let seed = 1; seed <= 120; seed++) {
      const mask = randomMask(seed);
      const shape = shapeOf(mask);
      for (let y = -1; y <= mask.height; y++) {
        for (let x = -1; x <= mask.width; x++) {
          const isIn = x >= 0 && y >= 0 && x < mask.width && y < mask.height;
          const wanted = isIn && mask.data[y * mask.width + x] === 1;
          expect(holds(shape, x, y)).toBe(wanted);
          expect(holds(shape, x + 0.9, y + 0.9)).toBe(wanted);
        }
      }
      expect(decode(rleOf(shape))).toEqual(mask);
    }
  });

  it("knows its area and box", () => {
    const data = Uint8Array.from("000000110001100".split(""), Number);
    expect(shapeOf({ width: 5, height: 3, data })).toMatchObject({ area: 4, box: { x0: 1, y0: 1, x1: 2, y1: 2 } });
    expect(shapeOf({ width: 5, height: 3, data: new Uint8Array(15) })).toMatchObject({ area: 0, box: null, rings: [] });
  });
});

describe("a ring seen from afar", () => {
  const stairs = Int32Array.from({ length: 40 }, (_, index) => Math.floor((index + 1 + (index % 2)) / 4) + (index % 2));

  it("keeps corners as far apart as asked, the first among them", () => {
    const ring = Int32Array.of(0, 0, 9, 0, 9, 3, 10, 3, 10, 9, 0, 9);
    expect(thin(ring, 1)).toBe(ring);
    expect([...thin(ring, 2)!]).toEqual([0, 0, 9, 0, 9, 3, 10, 9, 0, 9]);
    const far = thin(stairs, 4)!;
    for (let at = 2; at < far.length; at += 2) {
      expect(Math.max(Math.abs(far[at]! - far[at - 2]!), Math.abs(far[at + 1]! - far[at - 1]!))).toBeGreaterThanOrEqual(4);
    }
    expect([...far.subarray(0, 2)]).toEqual([...stairs.subarray(0, 2)]);
  });

  it("vanishes where nothing of it is seen", () => {
    expect(thin(Int32Array.of(5, 5, 6, 5, 6, 6, 5, 6), 4)).toBeNull();
  });
});
