import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { tidy } from "./tidy";

interface Case {
  image_hw: [number, number];
  input_size: number;
  logit_size: number;
  rows: string[];
  clicks: [number, number, 0 | 1][];
  is_ambiguous: boolean;
  tidied: string[];
}

const VECTORS = JSON.parse(readFileSync(new URL("../../../tests/vectors/tidy.json", import.meta.url), "utf8")) as {
  masks: Case[];
};

describe("the shared masks", () => {
  it.each(VECTORS.masks.map((one, index) => [index, one] as const))("number %i", (_, one) => {
    const [imageHeight, imageWidth] = one.image_hw;
    const frame = { imageHeight, imageWidth, inputSize: one.input_size, logitSize: one.logit_size };
    const before = Float32Array.from(one.rows.join(""), (cell) => (cell === "1" ? 2.5 : -1.5));
    const logits = before.slice();
    tidy(logits, frame, one.clicks.map(([x, y, label]) => ({ x, y, label })), one.is_ambiguous);
    const row = (y: number): string =>
      Array.from(logits.subarray(y * one.logit_size, (y + 1) * one.logit_size), (value) => (value > 0 ? "1" : ".")).join("");
    expect(one.tidied.map((_, y) => row(y))).toEqual(one.tidied);
    expect(logits.map(Math.abs)).toEqual(before.map(Math.abs));
  });
});
