/**
 * From marks on the image to masks on it: by the browser's decoder, or by the server where it has no graph to give.
 */
import { segmentImage, type Image, type Model, type SegmentRequest } from "../api/client";
import type { Decoder } from "../decoder/decoder";
import { logitsToMask } from "../geometry/frame";
import { decode as decodeRle, encode as encodeRle } from "../masks/rle";
import { paste, type Mask } from "../masks/mask";
import { pack, type Prompt } from "../prompts/prompt";
import type { Answer, CurrentObject } from "../session/session";
import type { Ready } from "./embedder";
import { packRules } from "./segmenter";

export interface Timed {
  answer: Answer;
  milliseconds: number;
}

/** Masks of the image's size for an object's marks, in the embedding that is ready. */
export async function segmentHere(
  decoder: Decoder, model: Model, image: Image, ready: Ready, current: CurrentObject,
): Promise<Timed> {
  const prompt = promptIn(ready, current);
  const packed = pack(prompt, ready.frame, packRules(model));
  const decoded = await decoder.decode(ready.key, packed, isAmbiguous(prompt) ? "three" : "single");
  const plane = model.logit_size ** 2;
  const count = decoded.logits.length / plane;
  const logits = Array.from({ length: count }, (_, index) => decoded.logits.slice(index * plane, (index + 1) * plane));
  const predictedIou = [...decoded.predictedIou.subarray(...(count === 1 ? [0, 1] : [1, 4]))];
  const masks = logits.map((one) => placed(logitsToMask(one, ready.frame), ready, image));
  return { answer: { embedding: ready.key, logits, predictedIou, masks }, milliseconds: decoded.milliseconds };
}

/** An object's marks as the embedding's own frame has them. */
export function promptIn(ready: Ready, current: CurrentObject): Prompt {
  const { x0, y0, frame, region } = ready;
  const points = current.points
    .map(({ x, y, label }) => ({ x: x - x0, y: y - y0, label }))
    .filter(({ x, y }) => x >= 0 && y >= 0 && x <= frame.imageWidth && y <= frame.imageHeight);
  const { box } = current;
  const moved = box && { x0: box.x0 - x0, y0: box.y0 - y0, x1: box.x1 - x0, y1: box.y1 - y0 };
  // Another embedding's logits are in another frame: they are left out, and so is a mask of all the image in a part of it.
  const logits = current.previous?.embedding === ready.key ? current.previous.logits : null;
  return { points, box: moved, mask: region || logits ? null : current.mask, logits };
}

function isAmbiguous({ points, box, mask, logits }: Prompt): boolean {
  return points.length === 1 && !box && !mask && !logits;
}

function placed(mask: Mask, ready: Ready, image: Image): Mask {
  return ready.region ? paste(mask, ready.x0, ready.y0, image.width, image.height) : mask;
}

/** The same by the server, for a model without a graph. */
export async function segmentThere(image: Image, current: CurrentObject): Promise<Answer> {
  const { points, box, mask } = current;
  const request: SegmentRequest = {
    prompts: [
      {
        points: points.map(({ x, y, label }): [number, number, 0 | 1] => [x, y, label]),
        box: box && [box.x0, box.y0, box.x1, box.y1],
        mask: mask && encodeRle(mask),
      },
    ],
    outputs: "auto",
  };
  const sent = await segmentImage(image.id, request);
  return {
    embedding: "",
    logits: [],
    predictedIou: sent.map((one) => one.predicted_iou),
    masks: sent.map(({ rle }) => decodeRle({ size: [rle.size[0], rle.size[1]], counts: rle.counts })),
  };
}
