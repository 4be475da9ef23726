/** Taking masks away: as pictures, as run lengths, by file or clipboard. */
import type { Image } from "../api/client";
import { cocoJson } from "../masks/coco";
import type { MaskWorker } from "../masks/mask_worker";
import { rleOf, type Shape } from "../masks/shape";
import type { CurrentObject, FinishedObject } from "../session/session";
import type { ExportKind } from "../ui/panel";

/** The picture that is worked on: its file as the browser shows it, and its name for names of files. */
interface Source {
  content: Blob;
  name: string;
}

/** Takes away the mask of the object at hand, and resolves to a few words that say so; to none where there is no mask. */
export async function exportCurrent(
  kind: ExportKind, { answer, chosen }: CurrentObject, { content, name }: Source, worker: MaskWorker,
): Promise<string> {
  const mask = answer?.masks[chosen];
  if (!mask) return "";
  const stem = stemOf(name);
  if (kind === "copy") {
    // The promise goes in unfinished: some browsers forget the click while a picture is made.
    await navigator.clipboard.write([new ClipboardItem({ "image/png": worker.run("png", "mask", mask, content) })]);
    return "mask copied";
  }
  if (kind === "json") {
    download(jsonOf(mask, answer.predictedIou[chosen]!), `${stem}-mask.json`);
    return "mask saved as JSON";
  }
  download(await worker.run("png", kind, mask, content), `${stem}-${kind}.png`);
  return `${kind} saved`;
}

function jsonOf(mask: Shape, predictedIou: number): Blob {
  const record = { segmentation: rleOf(mask), area: mask.area, bbox: mask.box, predicted_iou: predictedIou };
  return new Blob([JSON.stringify(record)], { type: "application/json" });
}

/** All finished objects of an image as one COCO file; a few words that say so. */
export function exportObjects(image: Image, objects: readonly FinishedObject[]): string {
  const { name, width, height } = image;
  const text = cocoJson({ imageName: name, width, height, objects });
  download(new Blob([text], { type: "application/json" }), `${stemOf(name)}-coco.json`);
  return `${objects.length} objects saved as COCO.`;
}

function stemOf(name: string): string {
  return name.replace(/\.[^.]*$/, "") || "image";
}

function download(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}
