/** Taking masks away: as pictures, as run lengths, by file or clipboard. */
import { area, box, type Mask } from "../masks/mask";
import { encode } from "../masks/rle";
import { CURRENT, tint } from "../canvas/paint";
import type { Image } from "../api/client";
import { cocoJson } from "../masks/coco";
import type { CurrentObject, FinishedObject } from "../session/session";
import type { ExportKind } from "../ui/panel";

interface Exported {
  mask: Mask;
  predictedIou: number;
  picture: ImageBitmap;
  /** Of the image, for names of files. */
  name: string;
}

/** Takes away the mask of the object at hand, and resolves to a few words that say so; to none where there is no mask. */
export async function exportCurrent(
  kind: ExportKind, { answer, chosen }: CurrentObject, picture: ImageBitmap, name: string,
): Promise<string> {
  const mask = answer?.masks[chosen];
  return mask ? exportMask(kind, { mask, predictedIou: answer.predictedIou[chosen]!, picture, name }) : "";
}

async function exportMask(kind: ExportKind, what: Exported): Promise<string> {
  const stem = what.name.replace(/\.[^.]*$/, "") || "image";
  if (kind === "copy") {
    // The promise goes in unfinished: some browsers forget the click while a picture is made.
    await navigator.clipboard.write([new ClipboardItem({ "image/png": maskPng(what.mask) })]);
    return "mask copied";
  }
  if (kind === "json") {
    const edges = box(what.mask);
    const record = { segmentation: encode(what.mask), area: area(what.mask), bbox: edges, predicted_iou: what.predictedIou };
    download(new Blob([JSON.stringify(record)], { type: "application/json" }), `${stem}-mask.json`);
    return "mask saved as JSON";
  }
  const makers = { mask: () => maskPng(what.mask), "cut-out": () => cutOutPng(what), overlay: () => overlayPng(what) };
  download(await makers[kind](), `${stem}-${kind}.png`);
  return `${kind} saved`;
}

/** All finished objects of an image as one COCO file; a few words that say so. */
export function exportObjects(image: Image, objects: readonly FinishedObject[]): string {
  const { name, width, height } = image;
  const text = cocoJson({ imageName: name, width, height, objects });
  download(new Blob([text], { type: "application/json" }), `${name.replace(/\.[^.]*$/, "")}-coco.json`);
  return `${objects.length} objects saved as COCO.`;
}

function download(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}

function canvasOf(width: number, height: number): [OffscreenCanvas, OffscreenCanvasRenderingContext2D] {
  const canvas = new OffscreenCanvas(width, height);
  return [canvas, canvas.getContext("2d")!];
}

/** White on black. */
function maskPng(mask: Mask): Promise<Blob> {
  const [canvas, context] = canvasOf(mask.width, mask.height);
  const pixels = context.createImageData(mask.width, mask.height);
  const words = new Uint32Array(pixels.data.buffer);
  for (let index = 0; index < words.length; index++) words[index] = mask.data[index] ? 0xffffffff : 0xff000000;
  context.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** The object on nothing, in its own box. */
function cutOutPng({ mask, picture }: Exported): Promise<Blob> {
  const [canvas, context] = canvasOf(mask.width, mask.height);
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, mask.width, mask.height);
  for (let index = 0; index < mask.data.length; index++) if (!mask.data[index]) pixels.data[index * 4 + 3] = 0;
  const edges = box(mask) ?? { x0: 0, y0: 0, x1: 0, y1: 0 };
  canvas.width = edges.x1 - edges.x0 + 1;
  canvas.height = edges.y1 - edges.y0 + 1;
  context.putImageData(pixels, -edges.x0, -edges.y0);
  return canvas.convertToBlob({ type: "image/png" });
}

function overlayPng({ mask, picture }: Exported): Promise<Blob> {
  const [canvas, context] = canvasOf(mask.width, mask.height);
  context.drawImage(picture, 0, 0);
  context.drawImage(tint(mask, CURRENT), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
