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
  const ratio = colorRatio(content, box, guide);
  const wanted = content.map((value, at) => sigmoid(LOGIT_WEIGHT * value + COLOR_WEIGHT * ratio[at]!));
  const { slopes, shift } = fit(wanted, guide, radius);
  return apply(slopes, shift, grownWindow(box, 2 * radius, frame), guide);
}

function apply(slopes: Float32Array[], shift: Float32Array, window: Window, guide: Guide): (Mask & { x0: number; y0: number }) | null {
  const { frame, pixels } = guide;
  const { x0, y0, x1, y1 } = window;
  const [width, height] = [x1 - x0, y1 - y0];
  const total = logitsToImage(squareOf(shift, guide), frame, window);
  slopes.forEach((slope, channel) => {
    const wide = logitsToImage(squareOf(slope, guide), frame, window);
    for (let y = 0; y < height; y++) {
      let from = ((y0 + y) * pixels.width + x0) * 4 + channel;
      for (let at = y * width; at < (y + 1) * width; at++, from += 4) total[at]! += wide[at]! * (pixels.data[from]! / 255);
    }
  });
  const data = new Uint8Array(total.length);
  for (let at = 0; at < data.length; at++) data[at] = total[at]! > 0.5 ? 1 : 0;
  return data.includes(1) ? { width, height, data, x0, y0 } : null;
}

/** Logarithm of how much more common each logit pixel's colour is in the mask than around it. */
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
  return Float32Array.from(bins, (bin) => Math.min(COLOR_LIMIT, Math.max(-COLOR_LIMIT, Math.log(here[bin]! / there[bin]!))));
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
    for (let at = 0; at < from.length; at++) {
      const place = Math.floor(at / step) % LEVELS;
      const before = from[place ? at - step : at]!;
      const after = from[place < LEVELS - 1 ? at + step : at]!;
      to[at] = 0.25 * (before + after) + 0.5 * from[at]!;
    }
    from = to;
  }
  const sum = Math.max(from.reduce((total, one) => total + one, 0), 1e-6);
  return from.map((one) => one / sum + 1e-5);
}

/** Slopes and shift that make of colours what is wanted, each the mean of the fits around. */
function fit(wanted: Float32Array, guide: Guide, radius: number): { slopes: Float32Array[]; shift: Float32Array } {
  const { width, height, colors } = guide;
  const { means, inverse } = momentsOf(guide, radius);
  const mean = boxMean(wanted, width, height, radius);
  const covariances = colors.map((color, channel) => {
    const together = boxMean(color.map((value, at) => value * wanted[at]!), width, height, radius);
    return together.map((value, at) => value - means[channel]![at]! * mean[at]!);
  });
  const [a, b, c, d, e, f] = inverse as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
  const [red, green, blue] = covariances as [Float32Array, Float32Array, Float32Array];
  const slopes = [[a, b, c], [b, d, e], [c, e, f]].map(([one, two, three]) =>
    red.map((value, at) => one![at]! * value + two![at]! * green[at]! + three![at]! * blue[at]!));
  const shift = mean.map((value, at) => value - slopes.reduce((sum, slope, channel) => sum + slope[at]! * means[channel]![at]!, 0));
  return {
    slopes: slopes.map((slope) => boxMean(slope, width, height, radius)),
    shift: boxMean(shift, width, height, radius),
  };
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
  const out = new Float32Array(values.length);
  runningMean(values, across, width, height, 1, width, radius);
  runningMean(across, out, height, width, width, 1, radius);
  return out;
}

/** Along one axis: `count` lines of `length` values, `step` apart, whose starts are `stride` apart. */
function runningMean(
  from: Float32Array, to: Float32Array, length: number, count: number, step: number, stride: number, radius: number,
): void {
  for (let line = 0; line < count; line++) {
    const start = line * stride;
    const value = (index: number): number => from[start + Math.min(length - 1, Math.max(0, index)) * step]!;
    let sum = 0;
    for (let index = -radius; index <= radius; index++) sum += value(index);
    for (let index = 0; index < length; index++) {
      to[start + index * step] = sum / (2 * radius + 1);
      sum += value(index + radius + 1) - value(index - radius);
    }
  }
}

/** Values of logit pixels as a whole square, going on beyond the picture. */
function squareOf(values: Float32Array, { width, height, frame: { logitSize } }: Guide): Float32Array {
  const square = new Float32Array(logitSize * logitSize);
  for (let y = 0; y < logitSize; y++) {
    const row = Math.min(y, height - 1) * width;
    for (let x = 0; x < logitSize; x++) square[y * logitSize + x] = values[row + Math.min(x, width - 1)]!;
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
