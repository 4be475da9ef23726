/** Files of a mask: itself, its object alone, the picture with it. */
import { CURRENT } from "./colors";
import { box, type Box, type Mask } from "./mask";

type Context = OffscreenCanvasRenderingContext2D;

function canvasOf(width: number, height: number): [OffscreenCanvas, Context] {
  const canvas = new OffscreenCanvas(width, height);
  return [canvas, canvas.getContext("2d")!];
}

function toPng(canvas: OffscreenCanvas): Promise<Blob> {
  return canvas.convertToBlob({ type: "image/png" });
}

/** The pixels of a part of a picture. */
export async function pixelsOf(content: Blob, { x0, y0, x1, y1 }: Box): Promise<ImageData> {
  const [, context] = canvasOf(x1 - x0, y1 - y0);
  context.drawImage(await createImageBitmap(content), -x0, -y0);
  return context.getImageData(0, 0, x1 - x0, y1 - y0);
}

/** One 32-bit pixel where the mask is, another where it is not. */
function fill(context: Context, { width, height, data }: Mask, inside: number, outside: number): void {
  const pixels = context.createImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer);
  for (let index = 0; index < words.length; index++) words[index] = data[index] ? inside : outside;
  context.putImageData(pixels, 0, 0);
}

/** White on black. */
export function maskPng(mask: Mask): Promise<Blob> {
  const [canvas, context] = canvasOf(mask.width, mask.height);
  fill(context, mask, 0xffffffff, 0xff000000);
  return toPng(canvas);
}

/** The object on nothing, in its own box. */
export async function cutOutPng(mask: Mask, content: Blob): Promise<Blob> {
  const edges = box(mask) ?? { x0: 0, y0: 0, x1: 0, y1: 0 };
  const [canvas, context] = canvasOf(edges.x1 - edges.x0 + 1, edges.y1 - edges.y0 + 1);
  const { width, height } = canvas;
  context.drawImage(await createImageBitmap(content), -edges.x0, -edges.y0);
  const pixels = context.getImageData(0, 0, width, height);
  for (let y = 0; y < height; y++) {
    const row = (edges.y0 + y) * mask.width + edges.x0;
    for (let x = 0; x < width; x++) if (!mask.data[row + x]) pixels.data[(y * width + x) * 4 + 3] = 0;
  }
  context.putImageData(pixels, 0, 0);
  return toPng(canvas);
}

/** The picture with the mask in a translucent colour. */
export async function overlayPng(mask: Mask, content: Blob): Promise<Blob> {
  const [canvas, context] = canvasOf(mask.width, mask.height);
  const [tinted, tint] = canvasOf(mask.width, mask.height);
  fill(tint, mask, ((112 << 24) | (CURRENT[2] << 16) | (CURRENT[1] << 8) | CURRENT[0]) >>> 0, 0);
  context.drawImage(await createImageBitmap(content), 0, 0);
  context.drawImage(tinted, 0, 0);
  return toPng(canvas);
}
