/**
 * Pictures made of masks and logits, each computed once, to be drawn at any zoom.
 */
import { contentSize, type Frame } from "../geometry/frame";
import type { Mask } from "../masks/mask";

export type Color = readonly [number, number, number];

export const CURRENT: Color = [99, 91, 255];
export const POSITIVE = "#0f9d58";
export const NEGATIVE = "#d93040";

/** Colours that differ for most eyes, in an order in which neighbours differ most. */
const PALETTE: Color[] = [
  [0, 150, 136], [240, 130, 20], [200, 60, 160], [60, 140, 240], [150, 180, 30],
  [230, 70, 70], [130, 90, 220], [240, 190, 20], [20, 170, 210], [170, 110, 60],
];

export function objectColor(index: number): Color {
  return PALETTE[index % PALETTE.length]!;
}

export function cssColor([r, g, b]: Color): string {
  return `rgb(${r} ${g} ${b})`;
}

const tinted = new WeakMap<Mask, { color: Color; picture: OffscreenCanvas }>();

/** The mask in one translucent colour, at the image's size. */
export function tint(mask: Mask, color: Color): OffscreenCanvas {
  const known = tinted.get(mask);
  if (known && known.color === color) return known.picture;
  const picture = new OffscreenCanvas(mask.width, mask.height);
  const context = picture.getContext("2d")!;
  const pixels = context.createImageData(mask.width, mask.height);
  const words = new Uint32Array(pixels.data.buffer);
  const word = ((112 << 24) | (color[2] << 16) | (color[1] << 8) | color[0]) >>> 0;
  for (let index = 0; index < words.length; index++) if (mask.data[index]) words[index] = word;
  context.putImageData(pixels, 0, 0);
  tinted.set(mask, { color, picture });
  return picture;
}

/** Low-resolution logits with a soft edge at zero: the content of the logit square, to be drawn smoothed. */
export function preview(logits: Float32Array, frame: Frame, color: Color): OffscreenCanvas {
  const side = frame.logitSize;
  const { width, height } = logitContent(frame);
  const picture = new OffscreenCanvas(width, height);
  const context = picture.getContext("2d")!;
  const pixels = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const share = Math.min(1, Math.max(0, 0.5 + logits[y * side + x]! * 0.7));
      const at = (y * width + x) * 4;
      pixels.data.set([color[0], color[1], color[2], share * 125], at);
    }
  }
  context.putImageData(pixels, 0, 0);
  return picture;
}

function logitContent(frame: Frame): { width: number; height: number } {
  const content = contentSize(frame);
  const factor = frame.logitSize / frame.inputSize;
  return {
    width: Math.min(frame.logitSize, Math.ceil(content.width * factor)),
    height: Math.min(frame.logitSize, Math.ceil(content.height * factor)),
  };
}

/** How much of the image one unit of a preview's picture covers: the last row may lie partly beyond the image. */
export function previewSize(frame: Frame): { width: number; height: number } {
  const content = contentSize(frame);
  const drawn = logitContent(frame);
  const factor = frame.inputSize / frame.logitSize;
  return {
    width: (drawn.width * factor * frame.imageWidth) / content.width,
    height: (drawn.height * factor * frame.imageHeight) / content.height,
  };
}
