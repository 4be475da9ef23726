import { describe, expect, it, vi } from "vitest";
import { shapeOf } from "../masks/shape";
import { NOTHING, type CurrentObject } from "../session/session";
import { promptIn, requestOf } from "./decoding";
import type { Ready } from "./embedder";

vi.hoisted(() => vi.stubGlobal("document", { baseURI: "http://page.test/" }));

const WHOLE: Ready = {
  key: "e", frame: { imageHeight: 80, imageWidth: 100, inputSize: 64, logitSize: 16 }, x0: 0, y0: 0, region: null,
};
const PART: Ready = {
  key: "e-10_20_50_60", frame: { imageHeight: 40, imageWidth: 40, inputSize: 64, logitSize: 16 }, x0: 10, y0: 20,
  region: [10, 20, 50, 60],
};
const INSIDE = { x: 30, y: 40, label: 1 } as const;
const OUTSIDE = { x: 90, y: 5, label: 0 } as const;
const MASK = shapeOf({ width: 2, height: 1, data: Uint8Array.of(0, 1) });
const EARLIER = shapeOf({ width: 2, height: 1, data: Uint8Array.of(1, 0) });

function marked(change: Partial<CurrentObject>): CurrentObject {
  return { ...NOTHING, ...change };
}

describe("what the browser's decoder is asked", () => {
  it("is the marks of a part in the part's own pixels", () => {
    const current = marked({ points: [INSIDE, OUTSIDE], box: { x0: 5, y0: 25, x1: 45, y1: 90 } });
    expect(promptIn(PART, current)).toEqual({
      points: [{ x: 20, y: 20, label: 1 }], box: { x0: -5, y0: 5, x1: 35, y1: 70 }, mask: null, logits: null,
    });
  });

  it("goes on from logits of the same embedding alone", () => {
    const logits = new Float32Array(256);
    const current = marked({ points: [INSIDE], mask: MASK, previous: { embedding: "e", logits, mask: null } });
    expect(promptIn(WHOLE, current)).toMatchObject({ mask: null });
    expect(promptIn(WHOLE, current).logits).toBe(logits);
    expect(promptIn(PART, current)).toMatchObject({ mask: null, logits: null });
    expect(promptIn({ ...WHOLE, key: "other" }, current)).toMatchObject({ mask: MASK, logits: null });
  });
});

describe("what the server is asked", () => {
  it("is all marks, and the mask so far, of the whole image", () => {
    const current = marked({ points: [INSIDE, OUTSIDE], box: { x0: 1, y0: 2, x1: 3, y1: 4 } });
    expect(requestOf(WHOLE, current)).toEqual({
      prompts: [{ points: [[30, 40, 1], [90, 5, 0]], box: [1, 2, 3, 4], mask: null }], outputs: "auto", region: null,
    });
    const previous = { embedding: "there", logits: null, mask: EARLIER };
    expect(requestOf(WHOLE, marked({ points: [INSIDE], mask: MASK })).prompts[0]!.mask!.counts).toBe(MASK.counts);
    expect(requestOf(WHOLE, marked({ points: [INSIDE], mask: MASK, previous })).prompts[0]!.mask).toEqual({
      size: [1, 2], counts: EARLIER.counts,
    });
  });

  it("is a part with the marks that lie in it, still in pixels of the image", () => {
    const current = marked({ points: [INSIDE, OUTSIDE], box: { x0: 60, y0: 2, x1: 70, y1: 9 } });
    expect(requestOf(PART, current)).toEqual({
      prompts: [{ points: [[30, 40, 1]], box: null, mask: null }], outputs: "auto", region: [10, 20, 50, 60],
    });
    const boxed = marked({ points: [OUTSIDE], box: { x0: 5, y0: 2, x1: 20, y1: 30 } });
    expect(requestOf(PART, boxed)).toMatchObject({ prompts: [{ points: [], box: [5, 2, 20, 30] }], region: PART.region });
  });

  it("is the whole where no mark lies in the part", () => {
    const request = requestOf(PART, marked({ points: [OUTSIDE] }));
    expect(request).toMatchObject({ prompts: [{ points: [[90, 5, 0]] }], region: null });
  });
});
