/** The keyboard's cross on the picture, and the corner of a box that it has begun. */
import type { Box } from "../geometry/frame";

interface Place {
  x: number;
  y: number;
}

export class Cursor {
  place: Place | null = null;
  corner: Place | null = null;

  /** Steps are of the screen, so that they are finer the closer one looks. */
  move(dx: number, dy: number, image: { width: number; height: number }, scale: number): Place {
    const { width, height } = image;
    const from = this.place ?? { x: Math.floor(width / 2), y: Math.floor(height / 2) };
    const moved = (at: number, by: number, length: number): number =>
      Math.min(length - 1, Math.max(0, Math.round(at + Math.sign(by) * Math.max(1, Math.abs(by) / scale))));
    this.place = { x: moved(from.x, dx, width), y: moved(from.y, dy, height) };
    return this.place;
  }

  /** The box from its corner to here, where one was begun; else begins one. */
  markCorner(): Box | null {
    const { place, corner } = this;
    this.corner = corner ? null : place;
    return place && corner ? boxOf(corner, place) : null;
  }

  /** The box as it would be now. */
  get drawn(): Box | null {
    return this.place && this.corner ? boxOf(this.corner, this.place) : null;
  }
}

export function boxOf(one: Place, other: Place): Box {
  return {
    x0: Math.min(one.x, other.x),
    y0: Math.min(one.y, other.y),
    x1: Math.max(one.x, other.x),
    y1: Math.max(one.y, other.y),
  };
}
