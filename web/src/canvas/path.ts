/** Shapes as paths of a canvas, each made once. */
import type { Shape } from "../masks/shape";

const made = new WeakMap<Shape, Path2D>();

export function pathOf(shape: Shape): Path2D {
  const known = made.get(shape);
  if (known) return known;
  const path = new Path2D();
  for (const ring of shape.rings) {
    path.moveTo(ring[0]!, ring[1]!);
    for (let at = 2; at < ring.length; at += 2) path.lineTo(ring[at]!, ring[at + 1]!);
    path.closePath();
  }
  made.set(shape, path);
  return path;
}
