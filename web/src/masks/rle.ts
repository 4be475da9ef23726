/** COCO's compressed run lengths: runs go down the columns, the first of them background. */
import type { Mask } from "./mask";

export interface Rle {
  /** Height and width. */
  size: [number, number];
  counts: string;
}

export function encode(mask: Mask): Rle {
  const { width, height, data } = mask;
  const counts: number[] = [];
  let run = 0;
  let value = 0;
  for (let x = 0; x < width; x++) {
    for (let at = x; at < data.length; at += width) {
      if (data[at]! !== value) {
        counts.push(run);
        run = 0;
        value = 1 - value;
      }
      run++;
    }
  }
  counts.push(run);
  return { size: [height, width], counts: compress(counts) };
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
    if (value) {
      for (; at < stop; at++) data[(at % height) * width + Math.floor(at / height)] = 1;
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
