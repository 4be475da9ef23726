/** A mask as the page holds it: what is drawn, listed and written of it. Its pixels stay in the worker that made it. */
import type { Box } from "../geometry/frame";
import { area, box, type Mask } from "./mask";
import { outline } from "./outline";
import { encode, type Place, type Rle } from "./rle";

export interface Shape {
  readonly width: number;
  readonly height: number;
  /** In pixels. */
  readonly area: number;
  /** First and last pixels, both included; null for an empty mask. */
  readonly box: Box | null;
  /** COCO's compressed run lengths. */
  readonly counts: string;
  /** Corners of each closed ring along the pixels' edges, as x, y, x, y and so on. */
  readonly rings: readonly Int32Array[];
}

/** Of a mask, or of one that is a part of a larger image at its place. */
export function shapeOf(mask: Mask, place: Place = { x0: 0, y0: 0, width: mask.width, height: mask.height }): Shape {
  const { x0, y0, width, height } = place;
  const rings = outline(mask).map((ring) => Int32Array.from(ring.flatMap(({ x, y }) => [x + x0, y + y0])));
  const inner = box(mask);
  const outer = inner && { x0: inner.x0 + x0, y0: inner.y0 + y0, x1: inner.x1 + x0, y1: inner.y1 + y0 };
  return { width, height, area: area(mask), box: outer, counts: encode(mask, place).counts, rings };
}

export function rleOf({ width, height, counts }: Shape): Rle {
  return { size: [height, width], counts };
}

/** Whether the shape has the pixel at a place: an odd number of its edges lie to the left. */
export function holds(shape: Shape, placeX: number, placeY: number): boolean {
  const [x, y] = [Math.floor(placeX), Math.floor(placeY)];
  let isInside = false;
  for (const ring of shape.rings) {
    let lastY = ring[ring.length - 1]!;
    for (let at = 0; at < ring.length; at += 2) {
      const [cornerX, cornerY] = [ring[at]!, ring[at + 1]!];
      // Only edges up and down change y; they span whole pixels.
      if (cornerX <= x && Math.min(cornerY, lastY) <= y && y < Math.max(cornerY, lastY)) isInside = !isInside;
      lastY = cornerY;
    }
  }
  return isInside;
}

/** The ring without corners that lie within a distance of the last one kept; null where less than a triangle stays. */
export function thin(ring: Int32Array, distance: number): Int32Array | null {
  if (distance <= 1) return ring;
  const kept: number[] = [];
  for (let at = 0; at < ring.length; at += 2) {
    const [x, y] = [ring[at]!, ring[at + 1]!];
    const isFar = Math.abs(x - kept.at(-2)!) >= distance || Math.abs(y - kept.at(-1)!) >= distance;
    if (!kept.length || isFar) kept.push(x, y);
  }
  return kept.length < 6 ? null : Int32Array.from(kept);
}
