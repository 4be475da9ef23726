/** The pixel of a mask farthest from all that is not it: where a person would click (paper §7.1, geometry of simulate.py). */
import { box, type Mask } from "./mask";

/** The innermost pixel by exact Euclidean distance, the first in row order of several; null for an empty mask. */
export function innermost(mask: Mask): { x: number; y: number } | null {
  const edges = box(mask);
  if (!edges) return null;
  // A frame of nothing around the mask's box: the image's edge counts as outside.
  const width = edges.x1 - edges.x0 + 3;
  const height = edges.y1 - edges.y0 + 3;
  const squares = new Float64Array(width * height);
  for (let y = 1; y < height - 1; y++) {
    const row = (edges.y0 + y - 1) * mask.width + edges.x0 - 1;
    for (let x = 1; x < width - 1; x++) if (mask.data[row + x]) squares[y * width + x] = Infinity;
  }
  for (let x = 0; x < width; x++) spread(squares, x, width, height);
  for (let y = 0; y < height; y++) spread(squares, y * width, 1, width);
  let best = 0;
  for (let index = 1; index < squares.length; index++) if (squares[index]! > squares[best]!) best = index;
  return { x: edges.x0 + (best % width) - 1, y: edges.y0 + Math.floor(best / width) - 1 };
}

/**
 * Squared distances along one line: each value becomes the least of any value on the line plus the square of the way there,
 * found as the lower envelope of parabolas (Felzenszwalb and Huttenlocher 2012).
 */
function spread(squares: Float64Array, start: number, step: number, length: number): void {
  const values = Float64Array.from({ length }, (_, index) => squares[start + index * step]!);
  const roots: number[] = [];
  const from: number[] = [];
  for (let index = 0; index < length; index++) {
    if (values[index] === Infinity) continue;
    let meets = -Infinity;
    while (roots.length) {
      const last = roots.at(-1)!;
      meets = (values[index]! + index ** 2 - values[last]! - last ** 2) / (2 * (index - last));
      if (meets > from.at(-1)!) break;
      roots.pop();
      from.pop();
      meets = -Infinity;
    }
    roots.push(index);
    from.push(meets);
  }
  for (let index = 0, piece = 0; index < length && roots.length; index++) {
    while (piece + 1 < roots.length && from[piece + 1]! < index) piece++;
    squares[start + index * step] = values[roots[piece]!]! + (index - roots[piece]!) ** 2;
  }
}
