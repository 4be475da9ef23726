/** COCO's compressed run lengths: runs go down the columns, the first of them background. */
import type { Mask } from "./mask";

export interface Rle {
  /** Height and width. */
  size: [number, number];
  counts: string;
}

/** Where a mask lies in an image, and the image's size. */
export interface Place {
  x0: number;
  y0: number;
  width: number;
  height: number;
}

/** Of a mask of all the image, or of one of a part of it with nothing around. */
export function encode(mask: Mask, place: Place = { x0: 0, y0: 0, width: mask.width, height: mask.height }): Rle {
  const { x0, y0, width, height } = place;
  const flips: number[] = [];
  columnFlips(mask).forEach((column, x) => {
    for (const y of column) {
      const at = (x0 + x) * height + y0 + y;
      // A column that ends within and the next that begins within are one run.
      if (flips.at(-1) === at) flips.pop();
      else flips.push(at);
    }
  });
  const last = width * height;
  if (flips.at(-1) !== last) flips.push(last);
  return { size: [height, width], counts: compress(flips.map((at, index) => at - (flips[index - 1] ?? 0))) };
}

/** For each column the rows at which it goes in or out; read row by row, as the pixels lie in memory. */
function columnFlips({ width, height, data }: Mask): number[][] {
  const columns = Array.from({ length: width }, (): number[] => []);
  for (let y = 0; y <= height; y++) {
    const row = y * width;
    for (let x = 0; x < width; x++) {
      const above = y > 0 ? data[row - width + x]! : 0;
      const here = y < height ? data[row + x]! : 0;
      if (above !== here) columns[x]!.push(y);
    }
  }
  return columns;
}

/** Throws RangeError where the runs do not fill the size. */
export function decode(rle: Rle): Mask {
  const [height, width] = rle.size;
  const data = new Uint8Array(width * height);
  let at = 0;
  let value = 0;
  for (const run of decompress(rle.counts)) {
    const stop = at + run;
    if (run < 0 || stop > data.length) throw new RangeError("run lengths exceed the mask's size");
    while (value && at < stop) {
      const x = Math.floor(at / height);
      const end = Math.min(stop, (x + 1) * height);
      for (let y = at - x * height; at < end; at++, y++) data[y * width + x] = 1;
    }
    at = stop;
    value = 1 - value;
  }
  if (at !== data.length) throw new RangeError("run lengths do not fill the mask's size");
  return { width, height, data };
}

/** Five bits a character, the sixth says that more follow; from the third on, the difference to the run two before. */
function compress(counts: readonly number[]): string {
  const codes: string[] = [];
  counts.forEach((count, index) => {
    let rest = index > 2 ? count - counts[index - 2]! : count;
    for (let more = true; more; ) {
      let code = rest & 31;
      rest >>= 5;
      more = code & 16 ? rest !== -1 : rest !== 0;
      if (more) code |= 32;
      codes.push(String.fromCharCode(code + 48));
    }
  });
  return codes.join("");
}

function decompress(text: string): number[] {
  const counts: number[] = [];
  for (let at = 0; at < text.length; ) {
    let value = 0;
    let shift = 0;
    for (let more = true; more; shift += 5) {
      const code = text.charCodeAt(at++) - 48;
      if (!(code >= 0 && code < 64)) throw new RangeError("counts hold an impossible character");
      value |= (code & 31) << shift;
      more = (code & 32) !== 0;
      if (!more && code & 16) value |= -1 << (shift + 5);
    }
    counts.push(counts.length > 2 ? value + counts[counts.length - 2]! : value);
  }
  return counts;
}
