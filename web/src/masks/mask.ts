/** Masks at the image's size, one byte a pixel. */
import type { Box } from "../geometry/frame";

export type { Box } from "../geometry/frame";

export interface Mask {
  width: number;
  height: number;
  /** 1 within, 0 without, row by row. */
  data: Uint8Array;
}

export function area(mask: Mask): number {
  let sum = 0;
  for (const value of mask.data) sum += value;
  return sum;
}

/** First and last pixels, both included; null for an empty mask. */
export function box(mask: Mask): Box | null {
  let [x0, y0, x1, y1] = [mask.width, mask.height, -1, -1];
  for (let y = 0; y < mask.height; y++) {
    const row = mask.data.subarray(y * mask.width, (y + 1) * mask.width);
    const first = row.indexOf(1);
    if (first < 0) continue;
    x0 = Math.min(x0, first);
    x1 = Math.max(x1, row.lastIndexOf(1));
    y0 = Math.min(y0, y);
    y1 = y;
  }
  return x1 < 0 ? null : { x0, y0, x1, y1 };
}

/** A mask of a part of an image in a mask of all of it. */
export function paste(mask: Mask, x0: number, y0: number, width: number, height: number): Mask {
  const data = new Uint8Array(width * height);
  for (let y = 0; y < mask.height; y++) {
    data.set(mask.data.subarray(y * mask.width, (y + 1) * mask.width), (y0 + y) * width + x0);
  }
  return { width, height, data };
}
