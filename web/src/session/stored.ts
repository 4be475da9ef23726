/** A session's marks and masks as they are kept: masks as run lengths, and of the way back nothing. */
import { decode, encode, type Rle } from "../masks/rle";
import type { Mask } from "../masks/mask";
import { NOTHING, type Answer, type CurrentObject, type FinishedObject, type Session } from "./session";

interface StoredAnswer {
  embedding: string;
  logits: readonly Float32Array[];
  predictedIou: readonly number[];
  masks: readonly Rle[];
}

export interface StoredWork extends Omit<CurrentObject, "mask" | "answer"> {
  mask: Rle | null;
  answer: StoredAnswer | null;
}

export interface StoredObject extends Omit<FinishedObject, "mask" | "work"> {
  mask: Rle;
  work: StoredWork;
}

const packed = new WeakMap<Mask, Rle>();

/** Each mask is packed once, however often its session is kept. */
function pack(mask: Mask): Rle {
  const made = packed.get(mask) ?? encode(mask);
  packed.set(mask, made);
  return made;
}

export function storeWork(work: CurrentObject): StoredWork {
  const { mask, answer } = work;
  return { ...work, mask: mask && pack(mask), answer: answer && { ...answer, masks: answer.masks.map(pack) } };
}

export function storeObject(object: FinishedObject): StoredObject {
  return { ...object, mask: pack(object.mask), work: storeWork(object.work) };
}

/** Throws RangeError for what cannot have been stored. */
export function restoreWork(stored: StoredWork): CurrentObject {
  const answer: Answer | null = stored.answer && { ...stored.answer, masks: stored.answer.masks.map(decode) };
  const restored = { ...stored, mask: stored.mask && decode(stored.mask), answer };
  return isNothing(restored) ? NOTHING : restored;
}

export function restoreObject(stored: StoredObject): FinishedObject {
  const work = restoreWork(stored.work);
  // The mask is mostly one of the answer's: then it is that one, and not a second copy.
  const same = stored.work.answer?.masks.findIndex((one) => one.counts === stored.mask.counts) ?? -1;
  return { ...stored, mask: work.answer?.masks[same] ?? decode(stored.mask), work };
}

function isNothing({ points, box, mask, answer, name }: CurrentObject): boolean {
  return !points.length && !box && !mask && !answer && name === null;
}

/** Whether there is anything to keep. */
export function isWorthKeeping({ objects, current }: Session): boolean {
  return objects.length > 0 || !isNothing(current);
}

/** About the bytes that it takes on disk. */
export function sizeOf(stored: StoredWork | StoredObject): number {
  const work = "work" in stored ? stored.work : stored;
  const masks = [work.mask, ...(work.answer?.masks ?? [])].reduce((sum, one) => sum + (one?.counts.length ?? 0), 0);
  const logits = [work.previous?.logits, ...(work.answer?.logits ?? [])];
  const numbers = logits.reduce((sum, one) => sum + (one?.byteLength ?? 0), 0);
  return 500 + masks + numbers + work.points.length * 50 + ("work" in stored ? stored.mask.counts.length : 0);
}
