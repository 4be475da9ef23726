/**
 * The three coordinate frames (image, input square, logit square) and what converts between them.
 *
 * Pixel (0, 0) has its centre at (0, 0) in every frame. The same numbers as the server's frames.
 */
import type { Mask } from "../masks/mask";

export interface Frame {
  imageHeight: number;
  imageWidth: number;
  inputSize: number;
  logitSize: number;
}

export interface Point {
  x: number;
  y: number;
}

export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/** Size of the scaled image inside the input square: its long side fills it. */
export function contentSize(frame: Frame): { height: number; width: number } {
  const scale = frame.inputSize / Math.max(frame.imageHeight, frame.imageWidth);
  return {
    height: Math.max(1, Math.floor(frame.imageHeight * scale + 0.5)),
    width: Math.max(1, Math.floor(frame.imageWidth * scale + 0.5)),
  };
}

/** Factors that take image coordinates to input coordinates. */
export function scaleOf(frame: Frame): Point {
  const content = contentSize(frame);
  return { x: content.width / frame.imageWidth, y: content.height / frame.imageHeight };
}

export function pointToInput(point: Point, frame: Frame): Point {
  const content = contentSize(frame);
  return {
    x: (point.x * content.width) / frame.imageWidth,
    y: (point.y * content.height) / frame.imageHeight,
  };
}

export function boxToLogit(box: Box, frame: Frame): Box {
  const factor = frame.logitSize / frame.inputSize;
  const first = pointToInput({ x: box.x0, y: box.y0 }, frame);
  const last = pointToInput({ x: box.x1, y: box.y1 }, frame);
  const shift = (value: number): number => (value + 0.5) * factor - 0.5;
  return { x0: shift(first.x), y0: shift(first.y), x1: shift(last.x), y1: shift(last.y) };
}

/** Part of the image, ends exclusive. */
export type Window = Box;

/** Mask logits (L, L) at the image's pixels, or those of a window of it, row by row. */
export function logitsToImage(logits: Float32Array, frame: Frame, window?: Window): Float32Array {
  const out = new Float32Array(windowArea(frame, window));
  forEachRow(logits, frame, window, (row, values) => out.set(values, row * values.length));
  return out;
}

/** The mask of logits above a threshold, of the window of the image that holds all of it: null where it is empty. */
export function logitsToMask(logits: Float32Array, frame: Frame, threshold = 0): (Mask & { x0: number; y0: number }) | null {
  const window = windowAbove(logits, frame, threshold);
  if (!window) return null;
  const { x0, y0, x1, y1 } = window;
  const [width, height] = [x1 - x0, y1 - y0];
  const data = new Uint8Array(width * height);
  forEachRow(logits, frame, window, (row, values) => {
    const start = row * width;
    for (let x = 0; x < width; x++) data[start + x] = values[x]! > threshold ? 1 : 0;
  });
  return { width, height, data, x0, y0 };
}

/** Logit pixels that a logit reaches to on either side, through both bilinear steps. */
const REACH = 2;

/** A window of the image outside of which no pixel exceeds the floor, since mixing neighbours cannot; null for nothing. */
function windowAbove(logits: Float32Array, frame: Frame, floor: number): Window | null {
  const side = frame.logitSize;
  let [left, top, right, bottom] = [side, side, -1, -1];
  for (let index = 0; index < logits.length; index++) {
    if (!(logits[index]! > floor)) continue;
    const x = index % side;
    left = Math.min(left, x);
    right = Math.max(right, x);
    bottom = Math.floor(index / side);
    top = Math.min(top, bottom);
  }
  if (right < 0) return null;
  const content = contentSize(frame);
  const unit = frame.inputSize / side;
  // One more pixel of the input and of the image each, for the second step and for rounding.
  const first = (low: number, length: number, scaled: number): number =>
    Math.max(0, Math.floor((((low - REACH) * unit - 1) * length) / scaled) - 1);
  const last = (high: number, length: number, scaled: number): number =>
    Math.min(length, Math.ceil((((high + 1 + REACH) * unit + 1) * length) / scaled) + 1);
  const { imageWidth: width, imageHeight: height } = frame;
  const window = {
    x0: first(left, width, content.width),
    y0: first(top, height, content.height),
    x1: last(right, width, content.width),
    y1: last(bottom, height, content.height),
  };
  return window.x0 < window.x1 && window.y0 < window.y1 ? window : null;
}

function windowArea(frame: Frame, window: Window | undefined): number {
  return window ? (window.x1 - window.x0) * (window.y1 - window.y0) : frame.imageHeight * frame.imageWidth;
}

function forEachRow(
  logits: Float32Array,
  frame: Frame,
  window: Window | undefined,
  take: (row: number, values: Float32Array) => void,
): void {
  const { x0, y0, x1, y1 } = window ?? { x0: 0, y0: 0, x1: frame.imageWidth, y1: frame.imageHeight };
  const content = contentSize(frame);
  const across = axisTaps(x0, x1, frame.imageWidth, content.width, frame);
  const down = axisTaps(y0, y1, frame.imageHeight, content.height, frame);
  const wide = widen(logits, frame.logitSize, across, x1 - x0);
  const width = x1 - x0;
  const values = new Float32Array(width);
  const { indices, weights } = down;
  for (let row = 0, tap = 0; row < y1 - y0; row++, tap += 4) {
    const [first, second, third, fourth] = [weights[tap]!, weights[tap + 1]!, weights[tap + 2]!, weights[tap + 3]!];
    const [one, two] = [indices[tap]! * width, indices[tap + 1]! * width];
    if (third === 0 && fourth === 0) {
      for (let x = 0; x < width; x++) values[x] = first * wide[one + x]! + second * wide[two + x]!;
    } else {
      const [three, four] = [indices[tap + 2]! * width, indices[tap + 3]! * width];
      for (let x = 0; x < width; x++) {
        values[x] = first * wide[one + x]! + second * wide[two + x]! + third * wide[three + x]! + fourth * wide[four + x]!;
      }
    }
    take(row, values);
  }
}

interface Taps {
  /** Four for each pixel; those that coincide are summed in the first. */
  indices: Int32Array;
  weights: Float64Array;
}

/** For pixels start to stop of an image's side: which logits they are made of, bilinear twice. */
function axisTaps(start: number, stop: number, length: number, contentLength: number, frame: Frame): Taps {
  const indices = new Int32Array((stop - start) * 4);
  const weights = new Float64Array((stop - start) * 4);
  for (let pixel = start; pixel < stop; pixel++) {
    const base = (pixel - start) * 4;
    let used = 0;
    for (const [inputIndex, inputShare] of between(pixel, length, contentLength)) {
      for (const [index, share] of between(inputIndex, frame.inputSize, frame.logitSize)) {
        const weight = inputShare * share;
        if (!weight) continue;
        let slot = 0;
        while (slot < used && indices[base + slot] !== index) slot++;
        indices[base + slot] = index;
        weights[base + slot]! += weight;
        if (slot === used) used++;
      }
    }
  }
  return { indices, weights };
}

/** The two source pixels around one of a resized side, and their shares. */
function between(pixel: number, length: number, sourceLength: number): [number, number][] {
  const place = Math.min(Math.max((pixel + 0.5) * (sourceLength / length) - 0.5, 0), sourceLength - 1);
  const before = Math.floor(place);
  return [
    [before, 1 - (place - before)],
    [Math.min(before + 1, sourceLength - 1), place - before],
  ];
}

function widen(logits: Float32Array, side: number, taps: Taps, width: number): Float32Array {
  const wide = new Float32Array(side * width);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let tap = x * 4; tap < x * 4 + 4; tap++) sum += taps.weights[tap]! * logits[y * side + taps.indices[tap]!]!;
      wide[y * width + x] = sum;
    }
  }
  return wide;
}
