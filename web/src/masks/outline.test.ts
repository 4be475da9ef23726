import { describe, expect, it } from "vitest";
import type { Point } from "../geometry/frame";
import { area, type Mask } from "./mask";
import { outline } from "./outline";

function maskOf(...rows: string[]): Mask {
  return { width: rows[0]!.length, height: rows.length, data: Uint8Array.from(rows.join(""), Number) };
}

/** Positive where the inside lies on the right hand, y downwards. */
function enclosed(ring: readonly Point[]): number {
  let twice = 0;
  ring.forEach((point, index) => {
    const next = ring[(index + 1) % ring.length]!;
    twice += point.x * next.y - next.x * point.y;
  });
  return twice / 2;
}

function areas(mask: Mask): number[] {
  return outline(mask).map(enclosed);
}

function expectCorners(ring: readonly Point[]): void {
  ring.forEach((point, index) => {
    const next = ring[(index + 1) % ring.length]!;
    const after = ring[(index + 2) % ring.length]!;
    expect(point.x === next.x).not.toBe(point.y === next.y);
    expect(point.x === next.x).not.toBe(next.x === after.x);
  });
}

describe("the outline", () => {
  it("of nothing has no ring, of everything one around the edge", () => {
    expect(outline(maskOf("000", "000"))).toEqual([]);
    const [ring, ...others] = outline(maskOf("111", "111"));
    expect(others).toEqual([]);
    expect(ring).toHaveLength(4);
    expect(new Set(ring!.map(({ x, y }) => `${x} ${y}`))).toEqual(new Set(["0 0", "3 0", "3 2", "0 2"]));
  });

  it("goes the other way around a hole", () => {
    expect(areas(maskOf("1111", "1001", "1111"))).toEqual([12, -2]);
    expect(areas(maskOf("11111", "10001", "10101", "10001", "11111")).sort((a, b) => a - b)).toEqual([-9, 1, 25]);
  });

  it("has a ring for each part", () => {
    expect(areas(maskOf("11000", "11000", "00000", "00111"))).toEqual([4, 3]);
  });

  it("holds pixels that touch at a corner together", () => {
    expect(areas(maskOf("10", "01"))).toEqual([2]);
    expect(areas(maskOf("01", "10"))).toEqual([2]);
    expect(areas(maskOf("010", "101", "010"))).toEqual([5, -1]);
  });

  it("encloses the area of any mask, turning at every corner", () => {
    let state = 12345;
    for (let count = 0; count < 150; count++) {
      const [width, height] = [1 + (count % 11), 1 + (count % 7)];
      const data = Uint8Array.from({ length: width * height }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32 < 0.3 + (count % 5) / 10 ? 1 : 0;
      });
      const mask = { width, height, data };
      const rings = outline(mask);
      expect(rings.reduce((sum, ring) => sum + enclosed(ring), 0)).toBe(area(mask));
      rings.forEach(expectCorners);
    }
  });
});
