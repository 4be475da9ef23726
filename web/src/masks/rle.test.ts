import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { decode, encode } from "./rle";

interface Vectors {
  masks: { size: [number, number]; rows: string[]; runs: number[]; counts: string }[];
}

const vectors = JSON.parse(
  readFileSync(resolve(import.meta.dirname, "../../../tests/vectors/rle.json"), "utf8"),
) as Vectors;

describe("the shared vectors of run lengths", () => {
  it.each(vectors.masks.map((one, index) => [index, one] as const))("number %i", (_, { size, rows, counts }) => {
    const data = Uint8Array.from(rows.join(""), Number);
    expect(encode({ height: size[0], width: size[1], data })).toEqual({ size, counts });
    expect(decode({ size, counts })).toEqual({ height: size[0], width: size[1], data });
  });
});

it("comes back the same for long runs", () => {
  const [width, height] = [1500, 1201];
  const data = new Uint8Array(width * height).fill(1, 400_000, 1_700_000);
  const mask = { width, height, data };
  const back = decode(encode(mask));
  expect([back.width, back.height]).toEqual([width, height]);
  expect(Buffer.compare(back.data, data)).toBe(0);
});

describe("damaged counts", () => {
  it.each([
    ["", "do not fill"],
    ["5", "do not fill"],
    [":", "exceed"],
    ["0O", "exceed"],
    ["!", "impossible character"],
    ["oo", "impossible character"],
    ["é", "impossible character"],
  ])("%j throw", (counts, words) => {
    expect(() => decode({ size: [2, 3], counts })).toThrow(RangeError);
    expect(() => decode({ size: [2, 3], counts })).toThrow(words);
  });
});
