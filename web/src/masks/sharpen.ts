/**
 * Borders that follow the picture's own edges: the same rule as the server's. Held to it by tests/vectors/sharpen.json.
 *
 * The model's logits are weighed against how much more common a pixel's colour is inside the mask than around it (Boykov and
 * Jolly 2001), and a guided filter lets the sum follow the picture's edges (He et al. 2010): coefficients on the logit grid,
 * applied to every pixel.
 */
import { contentSize, logitsToImage, scaleOf, type Frame, type Window } from "../geometry/frame";
import type { Mask } from "./mask";

const LOGIT_WEIGHT = 0.7;
const COLOR_WEIGHT = 0.4;
const COLOR_LIMIT = 3;
const LEVELS = 32;
const SURROUND = 0.5;
const RADIUS_SHARE = 1 / 6;
const MOST_RADIUS = 4;
const EPSILON = 1e-3;

/** Logit pixels beyond those of a window that its pixels are mixed of. */
const REACH = 3;

/** Pixels of a picture, four bytes each: red, green, blue and one that is not looked at. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray;
}

/** Of the colours around each logit pixel. */
interface Moments {
  means: Float32Array[];
  /** The upper triangle of the inverse of their covariance, row by row. */
  inverse: Float32Array[];
}

/** What all masks of a picture share: its colours, from 0 to 1, on the logit pixels that show it. */
export interface Guide {
  pixels: Pixels;
  frame: Frame;
  width: number;
  height: number;
  colors: Float32Array[];
  bins: Uint16Array;
  moments: Map<number, Moments>;
}

export function guideOf(pixels: Pixels, frame: Frame): Guide {
  const content = contentSize(frame);
  const cell = frame.inputSize / frame.logitSize;
  const [width, height] = [Math.ceil(content.width / cell), Math.ceil(content.height / cell)];
  const colors = shrink(pixels, width, height, frame);
  const level = (value: number): number => Math.min(LEVELS - 1, Math.floor(value * LEVELS));
  const bins = Uint16Array.from(
    colors[0]!, (red, at) => (level(red) * LEVELS + level(colors[1]![at]!)) * LEVELS + level(colors[2]![at]!),
  );
  return { pixels, frame, width, height, colors, bins, moments: new Map() };
}

/** The mask of logits (L, L) with the picture's edges, as a part of it at its place; null where it is too small for that. */
export function sharpen(logits: Float32Array, guide: Guide): (Mask & { x0: number; y0: number }) | null {
  const { width, height, frame } = guide;
  const content = new Float32Array(width * height);
  for (let y = 0; y < height; y++) content.set(logits.subarray(y * frame.logitSize, y * frame.logitSize + width), y * width);
  let [left, top, right, bottom, area] = [width, height, 0, 0, 0];
  for (let at = 0; at < content.length; at++) {
    if (!(content[at]! > 0)) continue;
    const [x, y] = [at % width, Math.floor(at / width)];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
    area++;
  }
  const radius = Math.min(MOST_RADIUS, Math.floor(RADIUS_SHARE * Math.sqrt(area) + 0.5));
  if (!radius) return null;
  const box = { x0: left, y0: top, x1: right, y1: bottom };
  const reach = 4 * radius + REACH;
  const part = {
    x0: Math.max(0, left - reach),
    y0: Math.max(0, top - reach),
    x1: Math.min(width, right + reach),
    y1: Math.min(height, bottom + reach),
  };
  const ratio = colorRatio(content, box, guide);
  const bins = guide.bins;
  const wanted = cut(content, part, width);
  for (let y = part.y0, at = 0; y < part.y1; y++) {
    for (let x = part.x0; x < part.x1; x++, at++) {
      wanted[at] = sigmoid(LOGIT_WEIGHT * wanted[at]! + COLOR_WEIGHT * ratio[bins[y * width + x]!]!);
    }
  }
  const { slopes, shift } = fit(wanted, guide, radius, part);
  return apply(slopes, shift, part, grownWindow(box, 2 * radius, frame), guide);
}

/** The mask in a window of the picture, of slopes and shift on a part of the logit pixels. */
function apply(
  slopes: Float32Array[], shift: Float32Array, part: Window, window: Window, guide: Guide,
): (Mask & { x0: number; y0: number }) | null {
  const { frame, pixels } = guide;
  const { x0, y0, x1, y1 } = window;
  const [width, height] = [x1 - x0, y1 - y0];
  const total = logitsToImage(squareOf(shift, part, frame), frame, window);
  slopes.forEach((slope, channel) => {
    const wide = logitsToImage(squareOf(slope, part, frame), frame, window);
    for (let y = 0; y < height; y++) {
      let from = ((y0 + y) * pixels.width + x0) * 4 + channel;
      for (let at = y * width; at < (y + 1) * width; at++, from += 4) total[at]! += wide[at]! * (pixels.data[from]! / 255);
    }
  });
  const data = new Uint8Array(total.length);
  for (let at = 0; at < data.length; at++) data[at] = total[at]! > 0.5 ? 1 : 0;
  return data.includes(1) ? { width, height, data, x0, y0 } : null;
}

/** By bin, logarithm of how much more common a colour is in the mask than around it. */
function colorRatio(content: Float32Array, box: Window, { width, height, bins }: Guide): Float32Array {
  const [across, down] = [round(SURROUND * (box.x1 - box.x0)), round(SURROUND * (box.y1 - box.y0))];
  const near = { x0: box.x0 - across, y0: box.y0 - down, x1: box.x1 + across, y1: box.y1 + down };
  const ours = new Float64Array(LEVELS ** 3);
  const others = new Float64Array(LEVELS ** 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const inside = sigmoid(2 * content[at]!);
      ours[bins[at]!]! += inside;
      if (x >= near.x0 && x < near.x1 && y >= near.y0 && y < near.y1) others[bins[at]!]! += 1 - inside;
    }
  }
  const [here, there] = [spread(ours), spread(others)];
  return Float32Array.from(here, (share, bin) => Math.min(COLOR_LIMIT, Math.max(-COLOR_LIMIT, Math.log(share / there[bin]!))));
}

/** Half to even, as the server rounds. */
function round(value: number): number {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

/** Shares of colours counted, each lent to its neighbours, none of them 0. */
function spread(counts: Float64Array): Float64Array {
  let from = counts;
  for (const step of [LEVELS ** 2, LEVELS, 1]) {
    const to = new Float64Array(from.length);
    const block = step * LEVELS;
    for (let start = 0; start < from.length; start += block) {
      for (let at = start; at < start + block; at++) {
        const before = from[at - step >= start ? at - step : at]!;
        const after = from[at + step < start + block ? at + step : at]!;
        to[at] = 0.25 * (before + after) + 0.5 * from[at]!;
      }
    }
    from = to;
  }
  const sum = Math.max(from.reduce((total, one) => total + one, 0), 1e-6);
  return from.map((one) => one / sum + 1e-5);
}

/** Slopes and shift that make of a part's colours what is wanted there, each the mean of the fits around. */
function fit(
  wanted: Float32Array, guide: Guide, radius: number, part: Window,
): { slopes: Float32Array[]; shift: Float32Array } {
  const here = (planes: Float32Array[]): Float32Array[] => planes.map((plane) => cut(plane, part, guide.width));
  const [width, height] = [part.x1 - part.x0, part.y1 - part.y0];
  const moments = momentsOf(guide, radius);
  const means = here(moments.means) as Three;
  const [a, b, c, d, e, f] = here(moments.inverse) as [...Three, ...Three];
  const mean = boxMean(wanted, width, height, radius);
  const [red, green, blue] = here(guide.colors).map((color, channel) => {
    for (let at = 0; at < color.length; at++) color[at]! *= wanted[at]!;
    const together = boxMean(color, width, height, radius);
    for (let at = 0; at < together.length; at++) together[at]! -= means[channel]![at]! * mean[at]!;
    return together;
  }) as Three;
  const slopes = [means[0], means[1], means[2]].map((plane) => new Float32Array(plane.length)) as Three;
  for (let at = 0; at < mean.length; at++) {
    const [r, g, u] = [red[at]!, green[at]!, blue[at]!];
    const first = a[at]! * r + b[at]! * g + c[at]! * u;
    const second = b[at]! * r + d[at]! * g + e[at]! * u;
    const third = c[at]! * r + e[at]! * g + f[at]! * u;
    [slopes[0][at], slopes[1][at], slopes[2][at]] = [first, second, third];
    mean[at]! -= first * means[0][at]! + second * means[1][at]! + third * means[2][at]!;
  }
  return {
    slopes: slopes.map((slope) => boxMean(slope, width, height, radius)),
    shift: boxMean(mean, width, height, radius),
  };
}

type Three = [Float32Array, Float32Array, Float32Array];

/** A part of a plane of rows of this width. */
function cut(plane: Float32Array, { x0, y0, x1, y1 }: Window, width: number): Float32Array {
  const out = new Float32Array((x1 - x0) * (y1 - y0));
  for (let y = y0; y < y1; y++) out.set(plane.subarray(y * width + x0, y * width + x1), (y - y0) * (x1 - x0));
  return out;
}

function momentsOf(guide: Guide, radius: number): Moments {
  const known = guide.moments.get(radius);
  if (known) return known;
  const { width, height, colors } = guide;
  const means = colors.map((color) => boxMean(color, width, height, radius));
  const covariances = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]].map(([one, two]) => {
    const products = colors[one!]!.map((value, at) => value * colors[two!]![at]!);
    const spare = one === two ? EPSILON : 0;
    return boxMean(products, width, height, radius).map((value, at) => value - means[one!]![at]! * means[two!]![at]! + spare);
  });
  const inverse = covariances.map((plane) => new Float32Array(plane.length));
  for (let at = 0; at < width * height; at++) {
    const [a, b, c, d, e, f] = covariances.map((plane) => plane[at]!) as [number, number, number, number, number, number];
    const cofactors = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b];
    const determinant = a * cofactors[0]! + b * cofactors[1]! + c * cofactors[2]!;
    inverse.forEach((plane, index) => (plane[at] = cofactors[index]! / determinant));
  }
  const moments = { means, inverse };
  guide.moments.set(radius, moments);
  return moments;
}

/** Means over the square of this radius about each pixel; beyond the border the picture goes on. */
function boxMean(values: Float32Array, width: number, height: number, radius: number): Float32Array {
  const across = new Float32Array(values.length);
  const line = new Float64Array(width + 2 * radius + 1);
  for (let start = 0; start < values.length; start += width) {
    line.fill(values[start]!, 0, radius);
    for (let x = 0; x < width; x++) line[radius + x] = values[start + x]!;
    line.fill(values[start + width - 1]!, radius + width);
    let sum = 0;
    for (let x = 0; x < 2 * radius; x++) sum += line[x]!;
    for (let x = 0; x < width; x++) {
      sum += line[x + 2 * radius]!;
      across[start + x] = sum;
      sum -= line[x]!;
    }
  }
  // Down whole rows at a time, which lie together in memory.
  const out = new Float32Array(values.length);
  const sums = new Float64Array(width);
  const add = (row: number, sign: 1 | -1): void => {
    const start = Math.min(height - 1, Math.max(0, row)) * width;
    for (let x = 0; x < width; x++) sums[x]! += sign * across[start + x]!;
  };
  for (let row = -radius; row < radius; row++) add(row, 1);
  const share = 1 / (2 * radius + 1) ** 2;
  for (let y = 0; y < height; y++) {
    add(y + radius, 1);
    for (let x = 0; x < width; x++) out[y * width + x] = sums[x]! * share;
    add(y - radius, -1);
  }
  return out;
}

/** Values of a part of the logit pixels in the whole square; beyond the part they go on. */
function squareOf(values: Float32Array, { x0, y0, x1, y1 }: Window, { logitSize }: Frame): Float32Array {
  const square = new Float32Array(logitSize * logitSize);
  const width = x1 - x0;
  for (let y = y0; y < Math.min(logitSize, y1 + REACH); y++) {
    const row = (Math.min(y1 - 1, y) - y0) * width;
    const out = y * logitSize;
    square.set(values.subarray(row, row + width), out + x0);
    square.fill(values[row + width - 1]!, out + x1, out + Math.min(logitSize, x1 + REACH));
  }
  return square;
}

/** The window of the image under a box of logit pixels and so many around it. */
function grownWindow(box: Window, by: number, frame: Frame): Window {
  const cell = frame.inputSize / frame.logitSize;
  const scale = scaleOf(frame);
  return {
    x0: Math.max(0, Math.floor(((box.x0 - by) * cell) / scale.x)),
    y0: Math.max(0, Math.floor(((box.y0 - by) * cell) / scale.y)),
    x1: Math.min(frame.imageWidth, Math.ceil(((box.x1 + by) * cell) / scale.x)),
    y1: Math.min(frame.imageHeight, Math.ceil(((box.y1 + by) * cell) / scale.y)),
  };
}

/** Colours of the logit pixels: means of what they show, or mixed of the nearest pixels where those are larger. */
function shrink(pixels: Pixels, width: number, height: number, frame: Frame): Float32Array[] {
  const cell = frame.inputSize / frame.logitSize;
  const scale = scaleOf(frame);
  const across = taps(width, cell / scale.x, pixels.width);
  const down = taps(height, cell / scale.y, pixels.height);
  const planes = [0, 1, 2].map(() => new Float32Array(width * height));
  for (let y = 0; y < height; y++) {
    for (let tap = down.starts[y]!; tap < down.starts[y + 1]!; tap++) {
      const row = down.indices[tap]! * pixels.width * 4;
      const share = down.weights[tap]! / 255;
      planes.forEach((plane, channel) => {
        for (let x = 0; x < width; x++) {
          let sum = 0;
          for (let at = across.starts[x]!; at < across.starts[x + 1]!; at++) {
            sum += across.weights[at]! * pixels.data[row + across.indices[at]! * 4 + channel]!;
          }
          plane[y * width + x]! += share * sum;
        }
      });
    }
  }
  return planes;
}

interface Taps {
  /** Of each cell where its pixels begin, and at last where they end. */
  starts: Int32Array;
  indices: Int32Array;
  weights: Float64Array;
}

/** For each of so many cells of a length which pixels it is made of, with shares that sum to 1. */
function taps(count: number, length: number, available: number): Taps {
  const [indices, weights, starts]: [number[], number[], number[]] = [[], [], [0]];
  const last = available - 1;
  for (let cell = 0; cell < count; cell++) {
    if (length <= 1) {
      const place = Math.min(last, Math.max(0, (cell + 0.5) * length - 0.5));
      const before = Math.floor(place);
      indices.push(before, Math.min(last, before + 1));
      weights.push(1 - (place - before), place - before);
    } else {
      const [start, stop] = [Math.min(cell * length, available - 1e-6), Math.min((cell + 1) * length, available)];
      for (let pixel = Math.floor(start); pixel < stop; pixel++) {
        indices.push(pixel);
        weights.push((Math.min(pixel + 1, stop) - Math.max(pixel, start)) / (stop - start));
      }
    }
    starts.push(indices.length);
  }
  return { starts: Int32Array.from(starts), indices: Int32Array.from(indices), weights: Float64Array.from(weights) };
}

function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-Math.min(30, Math.max(-30, value))));
}
