import { describe, expect, it } from "vitest";
import { area, box, type Mask } from "./mask";

function maskOf(...rows: string[]): Mask {
  return { width: rows[0]!.length, height: rows.length, data: Uint8Array.from(rows.join(""), Number) };
}

describe("a mask", () => {
  it.each<[string, string[], number, [number, number, number, number] | null]>([
    ["nothing", ["000", "000"], 0, null],
    ["everything", ["111", "111"], 6, [0, 0, 2, 1]],
    ["one pixel", ["0000", "0010", "0000"], 1, [2, 1, 2, 1]],
    ["two corners", ["0001", "0000", "1000"], 2, [0, 0, 3, 2]],
    ["a ring", ["00000", "01110", "01010", "01110"], 8, [1, 1, 3, 3]],
  ])("of %s has its area and box, both ends included", (_, rows, pixels, edges) => {
    const mask = maskOf(...rows);
    expect(area(mask)).toBe(pixels);
    expect(box(mask)).toEqual(edges && { x0: edges[0], y0: edges[1], x1: edges[2], y1: edges[3] });
  });
});
