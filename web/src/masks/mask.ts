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
  const { data } = mask; // an iterator over as many pixels takes ten times as long
  for (let index = 0; index < data.length; index++) sum += data[index]!;
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
