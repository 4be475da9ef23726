/** Where the picture lies on the screen: screen = image * scale + (x, y), in CSS pixels. */
import type { Box, Point } from "./frame";

export interface View {
  scale: number;
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

export function imageToScreen(view: View, point: Point): Point {
  return { x: point.x * view.scale + view.x, y: point.y * view.scale + view.y };
}

export function screenToImage(view: View, place: Point): Point {
  return { x: (place.x - view.x) / view.scale, y: (place.y - view.y) / view.scale };
}

export function pan(view: View, dx: number, dy: number): View {
  return { ...view, x: view.x + dx, y: view.y + dy };
}

/** The place on the screen keeps its place in the image. */
export function zoomAt(view: View, factor: number, place: Point, limits: { min: number; max: number }): View {
  const scale = Math.min(limits.max, Math.max(limits.min, view.scale * factor));
  const kept = scale / view.scale;
  return { scale, x: place.x - (place.x - view.x) * kept, y: place.y - (place.y - view.y) * kept };
}

/** The whole image in the middle. */
export function fit(image: Size, screen: Size, margin = 24): View {
  const room = { width: Math.max(1, screen.width - 2 * margin), height: Math.max(1, screen.height - 2 * margin) };
  const scale = Math.min(room.width / image.width, room.height / image.height);
  return { scale, x: (screen.width - image.width * scale) / 2, y: (screen.height - image.height * scale) / 2 };
}

/** The part of the image on the screen, in whole pixels, ends exclusive; null where none of it is. */
export function visibleRegion(view: View, image: Size, screen: Size): Box | null {
  const first = screenToImage(view, { x: 0, y: 0 });
  const last = screenToImage(view, { x: screen.width, y: screen.height });
  const x0 = Math.max(0, Math.floor(first.x));
  const y0 = Math.max(0, Math.floor(first.y));
  const x1 = Math.min(image.width, Math.ceil(last.x));
  const y1 = Math.min(image.height, Math.ceil(last.y));
  return x1 > x0 && y1 > y0 ? { x0, y0, x1, y1 } : null;
}
