/**
 * Previews under the mouse: pictures made of logits, to be drawn at any zoom.
 */
import { contentSize, type Frame } from "../geometry/frame";
import type { Color } from "../masks/colors";

/** Low-resolution logits with a soft edge at zero: the content of the logit square, to be drawn smoothed. */
export function preview(logits: Float32Array, frame: Frame, color: Color): OffscreenCanvas {
  const side = frame.logitSize;
  const { width, height } = logitContent(frame);
  const picture = new OffscreenCanvas(width, height);
  const context = picture.getContext("2d")!;
  const pixels = context.createImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  const opaque = (color[2] << 16) | (color[1] << 8) | color[0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const share = Math.min(1, Math.max(0, 0.5 + logits[y * side + x]! * 0.7));
      words[y * width + x] = (Math.round(share * 125) << 24) | opaque;
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
