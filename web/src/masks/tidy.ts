/** Masks without crumbs: the same rule as the server's, on low-resolution logits. Held to it by tests/vectors/tidy.json. */
import { contentSize, pointToInput, type Frame } from "../geometry/frame";
import type { LabelledPoint } from "../prompts/prompt";
import type { Mask } from "./mask";

// Shares of the largest piece and of the mask below which an island and a hole are taken for errors.
const ISLAND_SHARE = 0.1;
const HOLE_SHARE = 0.1;

interface Pieces {
  /** Number of each cell's piece from 1 on, 0 where there is none. */
  labels: Int32Array;
  /** By number; the first is of nothing. */
  areas: number[];
}

/**
 * Takes islands away and fills small holes, in place. The answer to a lone click is one piece, or two where the click lies
 * outside the largest. A click on the object keeps its piece, a click beside it its hole.
 */
export function tidy(logits: Float32Array, frame: Frame, points: readonly LabelledPoint[], isAmbiguous: boolean): void {
  const content = contentSize(frame);
  const cell = frame.inputSize / frame.logitSize;
  const [width, height] = [Math.ceil(content.width / cell), Math.ceil(content.height / cell)];
  const at = (x: number, y: number): number => y * frame.logitSize + x;
  const mask = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) mask[y * width + x] = logits[at(x, y)]! > 0 ? 1 : 0;
  }
  const cells = (label: 0 | 1): number[] =>
    points.filter((point) => point.label === label).map((point) => {
      const { x, y } = pointToInput(point, frame);
      const inside = (value: number, length: number): number =>
        Math.min(length - 1, Math.max(0, Math.floor((value + 0.5) / cell)));
      return inside(y, height) * width + inside(x, width);
    });
  const wrong = crumbs(mask, width, cells(1), cells(0), isAmbiguous ? 1 : ISLAND_SHARE);
  for (let index = 0; index < wrong.length; index++) {
    if (wrong[index]) logits[at(index % width, Math.floor(index / width))]! *= -1;
  }
}

/** The same for a mask at the picture's own pixels, the part of it that begins at (x0, y0). */
export function tidyMask(mask: Mask & { x0: number; y0: number }, points: readonly LabelledPoint[], isAmbiguous: boolean): void {
  const { width, height, data, x0, y0 } = mask;
  const cells = (label: 0 | 1): number[] =>
    points
      .filter((point) => point.label === label)
      .map(({ x, y }) => ({ x: Math.floor(x + 0.5) - x0, y: Math.floor(y + 0.5) - y0 }))
      .filter(({ x, y }) => x >= 0 && y >= 0 && x < width && y < height)
      .map(({ x, y }) => y * width + x);
  const wrong = crumbs(data, width, cells(1), cells(0), isAmbiguous ? 1 : ISLAND_SHARE);
  for (let at = 0; at < data.length; at++) data[at]! ^= wrong[at]!;
}

/** Where a mask should be the other way round; on and off are cells of clicks on the object and beside it. */
function crumbs(mask: Uint8Array, width: number, on: number[], off: number[], islandShare: number): Uint8Array {
  const wrong = new Uint8Array(mask.length);
  const pieces = connected(mask, width, 1, true);
  const largest = Math.max(...pieces.areas);
  if (largest === 0) return wrong;
  const keeps = pieces.areas.map((area) => area >= islandShare * largest);
  for (const cell of on) keeps[pieces.labels[cell]!] = true;
  const kept = mask.slice();
  let area = 0;
  for (let cell = 0; cell < mask.length; cell++) {
    if (mask[cell] && !keeps[pieces.labels[cell]!]) kept[cell] = 0;
    area += kept[cell]!;
  }
  const gaps = connected(kept, width, 0, false);
  const fills = gaps.areas.map((gap) => gap < HOLE_SHARE * area);
  for (let cell = 0; cell < kept.length; cell++) {
    const x = cell % width;
    if (x === 0 || x === width - 1 || cell < width || cell >= kept.length - width) fills[gaps.labels[cell]!] = false;
  }
  for (const cell of off) fills[gaps.labels[cell]!] = false;
  for (let cell = 0; cell < mask.length; cell++) {
    const value = kept[cell] || fills[gaps.labels[cell]!] ? 1 : 0;
    wrong[cell] = value === mask[cell] ? 0 : 1;
  }
  return wrong;
}

/** The pieces of the cells that have a value, joined along sides or, if diagonal, at corners too. */
function connected(mask: Uint8Array, width: number, value: 0 | 1, diagonal: boolean): Pieces {
  const labels = new Int32Array(mask.length);
  const areas = [0];
  const height = mask.length / width;
  const waiting: number[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (labels[start] || mask[start] !== value) continue;
    const label = areas.push(0) - 1;
    labels[start] = label;
    waiting.push(start);
    while (waiting.length) {
      const cell = waiting.pop()!;
      areas[label]!++;
      const x = cell % width;
      const y = (cell - x) / width;
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const isInside = x + dx >= 0 && x + dx < width && y + dy >= 0 && y + dy < height;
          if (!isInside || (!diagonal && dx !== 0 && dy !== 0)) continue;
          const next = cell + dy * width + dx;
          if (labels[next] || mask[next] !== value) continue;
          labels[next] = label;
          waiting.push(next);
        }
      }
    }
  }
  return { labels, areas };
}
