/** The line around a mask, along pixel edges, as closed rings. */
import type { Point } from "../geometry/frame";
import type { Mask } from "./mask";

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]] as const;

/** Rings of corners where the line turns; the mask lies on the right hand. */
export function outline(mask: Mask): Point[][] {
  const { width, height, data } = mask;
  const inside = (x: number, y: number): boolean =>
    x >= 0 && y >= 0 && x < width && y < height && data[y * width + x] === 1;
  const walked = new Uint8Array(data.length);
  const rings: Point[][] = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      if (data[at] && !walked[at] && !inside(x, y - 1)) rings.push(walk(x, y, inside, walked, width));
    }
  }
  return rings;
}

/** Follows one ring from the top edge of pixel (x, y), marking the top edges it goes along. */
function walk(
  startX: number,
  startY: number,
  inside: (x: number, y: number) => boolean,
  walked: Uint8Array,
  width: number,
): Point[] {
  const ring: Point[] = [];
  let [x, y, direction] = [startX, startY, 0];
  do {
    if (direction === 0) walked[y * width + x] = 1;
    const [dx, dy] = STEPS[direction]!;
    x += dx;
    y += dy;
    // The pixels ahead, on the left hand and on the right.
    const leftAhead = inside(x + Math.min(0, dx + dy), y + Math.min(0, dy - dx));
    const rightAhead = inside(x + Math.min(0, dx - dy), y + Math.min(0, dx + dy));
    if (leftAhead || !rightAhead) {
      ring.push({ x, y });
      direction = (direction + (leftAhead ? 3 : 1)) % 4;
    }
  } while (x !== startX || y !== startY || direction !== 0);
  return ring;
}
