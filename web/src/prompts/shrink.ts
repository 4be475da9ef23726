/** Masks in the logit frame: the share of each logit pixel that they cover. */
import { contentSize, type Frame } from "../geometry/frame";
import type { Mask } from "../masks/mask";

export function maskToLogit(mask: Mask, frame: Frame): Float32Array {
  const content = contentSize(frame);
  const { inputSize, logitSize } = frame;
  const shrunk = resize(Float32Array.from(mask.data), mask, content);
  const square = new Float32Array(inputSize * inputSize);
  for (let y = 0; y < content.height; y++) {
    square.set(shrunk.subarray(y * content.width, (y + 1) * content.width), y * inputSize);
  }
  return resize(square, { width: inputSize, height: inputSize }, { width: logitSize, height: logitSize });
}

interface Size {
  width: number;
  height: number;
}

function resize(values: Float32Array, from: Size, to: Size): Float32Array {
  const narrow = along(values, from.height, from.width, to.width);
  return transpose(along(transpose(narrow, from.height, to.width), to.width, from.height, to.height), to.width, to.height);
}

/** Every row at another length: means over what a pixel covers, or bilinear where it grows. */
function along(values: Float32Array, rows: number, length: number, wanted: number): Float32Array {
  if (length === wanted) return values;
  const out = new Float32Array(rows * wanted);
  const factor = length / wanted;
  for (let index = 0; index < wanted; index++) {
    for (const [place, share] of factor > 1 ? covered(index, factor, length) : around(index, factor, length)) {
      for (let row = 0; row < rows; row++) out[row * wanted + index]! += share * values[row * length + place]!;
    }
  }
  return out;
}

function covered(index: number, factor: number, length: number): [number, number][] {
  const [start, stop] = [index * factor, Math.min(length, (index + 1) * factor)];
  const shares: [number, number][] = [];
  for (let place = Math.floor(start); place < stop; place++) {
    const share = Math.min(stop, place + 1) - Math.max(start, place);
    if (share > 1e-6) shares.push([place, share / (stop - start)]);
  }
  return shares;
}

function around(index: number, factor: number, length: number): [number, number][] {
  const place = Math.min(Math.max((index + 0.5) * factor - 0.5, 0), length - 1);
  const before = Math.floor(place);
  return [
    [before, 1 - (place - before)],
    [Math.min(before + 1, length - 1), place - before],
  ];
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) out[x * rows + y] = values[y * columns + x]!;
  return out;
}
