/** Shapes as paths of a canvas, each made once for a range of zooms: from afar, corners closer than a pixel are left out. */
import { thin, type Shape } from "../masks/shape";

const made = new WeakMap<Shape, Map<number, Path2D>>();

/** scale: pixels of the screen for one of the image. */
export function pathOf(shape: Shape, scale = 1): Path2D {
  const distance = scale >= 1 ? 1 : 2 ** Math.floor(-Math.log2(scale));
  const paths = made.get(shape) ?? new Map<number, Path2D>();
  made.set(shape, paths);
  const path = paths.get(distance) ?? draw(shape, distance);
  paths.set(distance, path);
  return path;
}

function draw(shape: Shape, distance: number): Path2D {
  const path = new Path2D();
  for (const whole of shape.rings) {
    const ring = thin(whole, distance);
    if (!ring) continue;
    path.moveTo(ring[0]!, ring[1]!);
    for (let at = 2; at < ring.length; at += 2) path.lineTo(ring[at]!, ring[at + 1]!);
    path.closePath();
  }
  return path;
}
