/**
 * From marks on the image to masks on it: by the browser's decoder, or by the server where it has no graph to give.
 */
import { segmentImage, type Image, type Model, type SegmentRequest } from "../api/client";
import type { Decoder } from "../decoder/decoder";
import type { Edges, ShapePrompt } from "../masks/jobs";
import type { MaskWorker } from "../masks/mask_worker";
import { rleOf } from "../masks/shape";
import { tidy } from "../masks/tidy";
import { pack } from "../prompts/prompt";
import type { Answer, CurrentObject } from "../session/session";
import type { Ready } from "./embedder";
import { packRules } from "./segmenter";

export interface Timed {
  answer: Answer;
  milliseconds: number;
}

/** Masks of the image's size for an object's marks, in the embedding that is ready; content: the image's file. */
export async function segmentHere(
  decoder: Decoder, worker: MaskWorker, model: Model, image: Image, content: Blob, ready: Ready, current: CurrentObject,
): Promise<Timed> {
  const prompt = promptIn(ready, current);
  const { mask, ...rest } = prompt;
  const rules = packRules(model);
  const packed = await (mask ? worker.run("pack", prompt, ready.frame, rules) : pack({ ...rest, mask: null }, ready.frame, rules));
  const decoded = await decoder.decode(ready.key, packed, isAmbiguous(prompt) ? "three" : "single");
  const plane = model.logit_size ** 2;
  const count = decoded.logits.length / plane;
  const logits = Array.from({ length: count }, (_, index) => decoded.logits.slice(index * plane, (index + 1) * plane));
  if (model.tidies) for (const one of logits) tidy(one, ready.frame, prompt.points, isAmbiguous(prompt));
  const predictedIou = [...decoded.predictedIou.subarray(...(count === 1 ? [0, 1] : [1, 4]))];
  const { key, x0, y0 } = ready;
  const edges: Edges = { key, content, tidies: model.tidies, points: prompt.points, isAmbiguous: isAmbiguous(prompt) };
  const place = { x0, y0, width: image.width, height: image.height };
  const masks = await worker.run("upscale", logits, ready.frame, place, model.sharpens ? edges : null);
  return { answer: { embedding: ready.key, logits, predictedIou, masks }, milliseconds: decoded.milliseconds };
}

/** An object's marks as the embedding's own frame has them. */
export function promptIn(ready: Ready, current: CurrentObject): ShapePrompt {
  const { x0, y0, frame, region } = ready;
  const points = current.points
    .map(({ x, y, label }) => ({ x: x - x0, y: y - y0, label }))
    .filter(({ x, y }) => x >= 0 && y >= 0 && x <= frame.imageWidth && y <= frame.imageHeight);
  const { box } = current;
  const moved = box && { x0: box.x0 - x0, y0: box.y0 - y0, x1: box.x1 - x0, y1: box.y1 - y0 };
  // Another embedding's logits are in another frame: they are left out, and so is a mask of all the image in a part of it.
  const { previous } = current;
  const logits = previous?.embedding === ready.key ? previous.logits : null;
  return { points, box: moved, mask: region || logits ? null : (previous?.mask ?? current.mask), logits };
}

function isAmbiguous({ points, box, mask, logits }: ShapePrompt): boolean {
  return points.length === 1 && !box && !mask && !logits;
}

/** The same by the server, for a model without a graph. A part of the image is looked at where marks lie in it. */
export async function segmentThere(worker: MaskWorker, image: Image, ready: Ready, current: CurrentObject): Promise<Answer> {
  const sent = await segmentImage(image.id, requestOf(ready, current));
  return {
    embedding: ready.key,
    logits: [],
    predictedIou: sent.map((one) => one.predicted_iou),
    masks: await worker.run("trace", sent.map(({ rle }) => ({ size: [rle.size[0], rle.size[1]], counts: rle.counts }))),
  };
}

/** An object's marks and its mask so far, as the server takes them: in pixels of the image, also where a part is looked at. */
export function requestOf({ region }: Ready, { points, box, mask, previous }: CurrentObject): SegmentRequest {
  const [x0, y0, x1, y1] = region ?? [-Infinity, -Infinity, Infinity, Infinity];
  const seen = points.filter(({ x, y }) => x >= x0 && y >= y0 && x <= x1 && y <= y1);
  const isBoxSeen = box !== null && box.x1 > x0 && box.y1 > y0 && box.x0 < x1 && box.y0 < y1;
  // With no mark in the part, the whole image is looked at.
  const isPart = region !== null && (seen.length > 0 || isBoxSeen);
  const rough = previous?.mask ?? mask;
  return {
    prompts: [
      {
        points: (isPart ? seen : points).map(({ x, y, label }): [number, number, 0 | 1] => [x, y, label]),
        box: box && (isBoxSeen || !isPart) ? [box.x0, box.y0, box.x1, box.y1] : null,
        mask: rough && rleOf(rough),
      },
    ],
    outputs: "auto",
    region: isPart ? [...region] : null,
  };
}
