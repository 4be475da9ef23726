/**
 * Everything in an image: masks as they come, and which of them show at a setting between parts and wholes.
 */
import { everythingInImage, type EverythingLine, type EverythingRequest } from "../api/client";
import type { MaskWorker } from "../masks/mask_worker";
import { holds, type Shape } from "../masks/shape";

export interface Found {
  mask: Shape;
  area: number;
  predictedIou: number;
  parent: number | null;
  /** Wholes are at 0, their parts at 1, and so on. */
  depth: number;
  hasParts: boolean;
}

/** Asks the server and waits for its end; onProgress gets the share done. Rejects with the server's sentence. */
export async function findEverything(
  imageId: string,
  request: EverythingRequest,
  onProgress: (share: number) => void,
  signal: AbortSignal,
  worker: MaskWorker,
): Promise<Found[]> {
  const lines: Extract<EverythingLine, { kind: "mask" }>[] = [];
  for await (const line of everythingInImage(imageId, request, signal)) {
    if (line.kind === "progress") onProgress(line.total ? line.done / line.total : 1);
    else if (line.kind === "mask") lines.push(line);
    else if (line.kind === "error") throw new Error(line.detail);
    else {
      const shapes = await worker.run("trace", lines.map(({ rle }) => ({ size: [rle.size[0], rle.size[1]], counts: rle.counts })));
      return lines.map((_, index) => toFound(shapes[index]!, index, lines));
    }
  }
  throw new Error("The server stopped before the end.");
}

type MaskLine = Extract<EverythingLine, { kind: "mask" }>;

function toFound(mask: Shape, index: number, lines: MaskLine[]): Found {
  const { area, predicted_iou, parent } = lines[index]!;
  const hasParts = lines.some((other) => other.parent === index);
  return { mask, area, predictedIou: predicted_iou, parent, depth: depthOf(index, lines), hasParts };
}

function depthOf(index: number, lines: MaskLine[]): number {
  let depth = 0;
  for (let at = lines[index]!.parent; at !== null && depth < lines.length; depth++) at = lines[at]!.parent;
  return depth;
}

/** How many settings the slider has: wholes first. */
export function numLevels(found: readonly Found[]): number {
  return 1 + found.reduce((deepest, one) => Math.max(deepest, one.depth), 0);
}

/** The masks of one level: those at its depth, and those above that have no parts to show in their place. */
export function atLevel(found: readonly Found[], level: number): Found[] {
  return found.filter((one) => one.depth === level || (one.depth < level && !one.hasParts));
}

/** The smallest shown mask at a place. */
export function maskAt(shown: readonly Found[], x: number, y: number): Found | null {
  let best: Found | null = null;
  for (const one of shown) {
    if ((!best || one.area < best.area) && holds(one.mask, x, y)) best = one;
  }
  return best;
}
