/**
 * Draws the picture and what is known of it: everything in image pixels, moved by one view.
 */
import type { Box } from "../geometry/frame";
import type { View } from "../geometry/view";
import { CURRENT, cssColor, type Color } from "../masks/colors";
import type { Shape } from "../masks/shape";
import { pathOf } from "./path";
import type { Pyramid } from "./pyramid";

const POSITIVE = "#0f9d58";
const NEGATIVE = "#d93040";
const TINT = 0.44;

export interface Scene {
  /** Finished objects and their colours, and everything's masks. */
  layers: { mask: Shape; color: Color; strong: boolean }[];
  current: Shape | null;
  /** A preview under the mouse: its picture and the rectangle of the image that it covers. */
  hover: { picture: OffscreenCanvas; x: number; y: number; width: number; height: number } | null;
  points: readonly { x: number; y: number; label: 0 | 1 }[];
  box: Box | null;
  dragged: Box | null;
  cursor: { x: number; y: number } | null;
  region: readonly [number, number, number, number] | null;
}

export const EMPTY_SCENE: Scene = {
  layers: [], current: null, hover: null, points: [], box: null, dragged: null, cursor: null, region: null,
};

export class Stage {
  view: View = { scale: 1, x: 0, y: 0 };
  width = 1;
  height = 1;
  readonly #context: CanvasRenderingContext2D;
  #picture: Pyramid | null = null;
  #scene: Scene = EMPTY_SCENE;
  #asked = false;

  constructor(
    readonly canvas: HTMLCanvasElement,
    onResize: () => void,
  ) {
    this.#context = canvas.getContext("2d", { alpha: true })!;
    new ResizeObserver(() => {
      this.width = Math.max(1, canvas.clientWidth);
      this.height = Math.max(1, canvas.clientHeight);
      canvas.width = Math.round(this.width * devicePixelRatio);
      canvas.height = Math.round(this.height * devicePixelRatio);
      onResize();
      this.#draw();
    }).observe(canvas);
  }

  setPicture(picture: Pyramid | null): void {
    this.#picture?.close();
    this.#picture = picture;
    this.redraw();
  }

  setScene(scene: Scene): void {
    this.#scene = scene;
    this.redraw();
  }

  /** Draws with the next frame of the screen, however often asked. */
  redraw(): void {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.#draw();
    });
  }

  #draw(): void {
    const context = this.#context;
    const ratio = devicePixelRatio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.#picture) return;
    const { scale, x, y } = this.view;
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    this.#picture.draw(context, scale * ratio);
    this.#drawMasks(context);
    this.#drawMarks(context);
  }

  #drawMasks(context: CanvasRenderingContext2D): void {
    const scene = this.#scene;
    for (const { mask, color, strong } of scene.layers) {
      this.#drawMask(context, mask, color, strong);
    }
    if (scene.current) this.#drawMask(context, scene.current, CURRENT, true);
    if (scene.hover) {
      const { picture, x, y, width, height } = scene.hover;
      context.imageSmoothingEnabled = true;
      context.drawImage(picture, x, y, width, height);
    }
  }

  /** In a translucent colour, and where strong with a light line beneath a coloured one: seen on any ground. */
  #drawMask(context: CanvasRenderingContext2D, mask: Shape, color: Color, strong: boolean): void {
    const path = pathOf(mask, this.view.scale * devicePixelRatio);
    context.fillStyle = cssColor(color, TINT);
    context.fill(path);
    if (!strong) return;
    context.lineJoin = "bevel";
    for (const [style, width] of [["rgb(255 255 255 / 85%)", 3.4], [cssColor(color), 1.8]] as const) {
      context.strokeStyle = style;
      context.lineWidth = width / this.view.scale;
      context.stroke(path);
    }
  }

  #drawMarks(context: CanvasRenderingContext2D): void {
    const { points, box, dragged, cursor, region } = this.#scene;
    const unit = 1 / this.view.scale;
    if (region) rectangle(context, region, unit, "rgb(255 255 255 / 90%)", [3, 5]);
    if (box) rectangle(context, [box.x0, box.y0, box.x1, box.y1], unit, cssColor(CURRENT), []);
    if (dragged) rectangle(context, [dragged.x0, dragged.y0, dragged.x1, dragged.y1], unit, cssColor(CURRENT), [6, 4]);
    for (const point of points) drawPoint(context, point, unit);
    if (cursor) drawCursor(context, cursor, unit);
  }
}

function rectangle(
  context: CanvasRenderingContext2D,
  [x0, y0, x1, y1]: readonly [number, number, number, number],
  unit: number,
  style: string,
  dash: number[],
): void {
  for (const [color, width] of [["rgb(0 0 0 / 45%)", 3.5], [style, 2]] as const) {
    context.strokeStyle = color;
    context.lineWidth = width * unit;
    context.setLineDash(dash.map((length) => length * unit));
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}

/** Plus and minus tell the two kinds apart without colour. */
function drawPoint(context: CanvasRenderingContext2D, point: { x: number; y: number; label: 0 | 1 }, unit: number): void {
  const x = point.x + 0.5;
  const y = point.y + 0.5;
  const arm = 3.6 * unit;
  context.beginPath();
  context.arc(x, y, 7.5 * unit, 0, 2 * Math.PI);
  context.fillStyle = point.label ? POSITIVE : NEGATIVE;
  context.fill();
  context.strokeStyle = "#fff";
  context.lineWidth = 2 * unit;
  context.stroke();
  context.beginPath();
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  if (point.label) {
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
  }
  context.stroke();
}

function drawCursor(context: CanvasRenderingContext2D, cursor: { x: number; y: number }, unit: number): void {
  const x = cursor.x + 0.5;
  const y = cursor.y + 0.5;
  context.beginPath();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]] as const) {
    context.moveTo(x + dx * 5 * unit, y + dy * 5 * unit);
    context.lineTo(x + dx * 18 * unit, y + dy * 18 * unit);
  }
  for (const [style, width] of [["#000", 4], ["#fff", 2]] as const) {
    context.strokeStyle = style;
    context.lineWidth = width * unit;
    context.stroke();
  }
}
