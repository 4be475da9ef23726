import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { box, type Mask } from "./mask";
import { innermost } from "./innermost";

interface Case {
  rows: string[];
  point_xy: [number, number];
  box_xyxy: number[];
}

const VECTORS = JSON.parse(readFileSync(new URL("../../../tests/vectors/prompts.json", import.meta.url), "utf8")) as {
  masks_alone: Case[];
};

function maskOf(rows: string[]): Mask {
  return { width: rows[0]!.length, height: rows.length, data: Uint8Array.from(rows.join("").split("").map(Number)) };
}

describe("the shared masks", () => {
  it.each(VECTORS.masks_alone)("have their box and innermost pixel at $point_xy", ({ rows, point_xy, box_xyxy }) => {
    const mask = maskOf(rows);
    expect(innermost(mask)).toEqual({ x: point_xy[0], y: point_xy[1] });
    expect(Object.values(box(mask)!)).toEqual(box_xyxy);
  });
});

it("finds nothing in an empty mask", () => {
  expect(innermost(maskOf(["000", "000"]))).toBeNull();
});
