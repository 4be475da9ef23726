/** The work on one image: the object at hand, the finished ones, and the way back. Values; nothing here changes one. */
import type { Box } from "../geometry/frame";
import type { Shape } from "../masks/shape";
import type { LabelledPoint } from "../prompts/prompt";

const MOST_STEPS = 200;

/** What the decoder said: one mask or three, as low-resolution logits, of one embedding. */
export interface Answer {
  embedding: string;
  logits: readonly Float32Array[];
  predictedIou: readonly number[];
  /** At the image's size. */
  masks: readonly Shape[];
}

export interface CurrentObject {
  points: readonly LabelledPoint[];
  box: Box | null;
  /** A rough mask to begin from. */
  mask: Shape | null;
  /** Of an earlier answer, to be fed back: its logits, or its mask where it came without. */
  previous: { embedding: string; logits: Float32Array; mask: null } | { embedding: string; logits: null; mask: Shape } | null;
  answer: Answer | null;
  chosen: number;
  /** Given back when a reopened object is finished again. */
  name: string | null;
}

export interface FinishedObject {
  id: number;
  name: string;
  hidden: boolean;
  mask: Shape;
  predictedIou: number;
  work: CurrentObject;
}

interface Step {
  current: CurrentObject;
  objects: readonly FinishedObject[];
}

export interface Session extends Step {
  imageId: string;
  past: readonly Step[];
  future: readonly Step[];
  nextId: number;
}

export const NOTHING: CurrentObject = {
  points: [], box: null, mask: null, previous: null, answer: null, chosen: 0, name: null,
};

export function newSession(imageId: string): Session {
  return { imageId, current: NOTHING, objects: [], past: [], future: [], nextId: 1 };
}

export function isEmpty(current: CurrentObject): boolean {
  return !current.points.length && !current.box && !current.mask;
}

/** No mark, no mask and no name: as at the beginning. */
export function isUntouched(current: CurrentObject): boolean {
  return isEmpty(current) && !current.answer && current.name === null;
}

function step(session: Session, change: Partial<Session>): Session {
  const past = [...session.past, { current: session.current, objects: session.objects }].slice(-MOST_STEPS);
  return { ...session, ...change, past, future: [] };
}

/** The mask chosen so far is fed back with the next mark. */
function fedBack({ answer, chosen, previous, mask: begun }: CurrentObject): CurrentObject["previous"] {
  if (!answer) return previous;
  const { embedding } = answer;
  const logits = answer.logits[chosen];
  if (logits) return { embedding, logits, mask: null };
  const mask = answer.masks[chosen];
  return mask && mask !== begun ? { embedding, logits: null, mask } : previous;
}

export function addPoint(session: Session, point: LabelledPoint): Session {
  const { current } = session;
  return step(session, { current: { ...current, points: [...current.points, point], previous: fedBack(current) } });
}

/** A box begins anew: what came before it was of another thing, or a worse description of this one. */
export function setBox(session: Session, box: Box): Session {
  return step(session, { current: { ...NOTHING, name: session.current.name, box } });
}

/** As a box does, with a mask that is its own answer. */
export function setMask(session: Session, mask: Shape, predictedIou: number): Session {
  const answer = { embedding: "", logits: [], predictedIou: [predictedIou], masks: [mask] };
  return step(session, { current: { ...NOTHING, name: session.current.name, mask, answer } });
}

/** A mask found elsewhere becomes a finished object, in one step. */
export function take(session: Session, mask: Shape, predictedIou: number): Session {
  const { current, objects, nextId } = finish(setMask(session, mask, predictedIou));
  return step(session, { current, objects, nextId });
}

export function removeLast(session: Session): Session {
  const { current } = session;
  if (!current.points.length) return clear(session);
  const points = current.points.slice(0, -1);
  return step(session, { current: { ...current, points, previous: null, answer: null, chosen: 0 } });
}

export function choose(session: Session, output: number): Session {
  const { current } = session;
  if (!current.answer || output >= current.answer.masks.length) return session;
  return { ...session, current: { ...current, chosen: output } };
}

/** Takes the decoder's answer to the current marks; the best predicted is chosen. */
export function acceptLogits(session: Session, answer: Answer): Session {
  const best = answer.predictedIou.indexOf(Math.max(...answer.predictedIou));
  return { ...session, current: { ...session.current, answer, chosen: Math.max(0, best) } };
}

export function finish(session: Session): Session {
  const { current, nextId } = session;
  const mask = current.answer?.masks[current.chosen];
  if (!mask) return session;
  const name = current.name ?? `Object ${nextId}`;
  const predictedIou = current.answer!.predictedIou[current.chosen]!;
  const done: FinishedObject = { id: nextId, name, hidden: false, mask, predictedIou, work: current };
  return step(session, { current: NOTHING, objects: [...session.objects, done], nextId: nextId + 1 });
}

/** The object at hand is finished before, if it has a mask; both are one step. */
export function reopen(session: Session, id: number): Session {
  const kept = finish(session);
  const object = kept.objects.find((one) => one.id === id);
  if (!object) return session;
  const objects = kept.objects.filter((one) => one.id !== id);
  return step(session, { objects, current: { ...object.work, name: object.name }, nextId: kept.nextId });
}

function change(session: Session, id: number, to: Partial<FinishedObject>): Session {
  if (!session.objects.some((one) => one.id === id)) return session;
  return step(session, { objects: session.objects.map((one) => (one.id === id ? { ...one, ...to } : one)) });
}

export function rename(session: Session, id: number, name: string): Session {
  return session.objects.some((one) => one.id === id && one.name === name) ? session : change(session, id, { name });
}

export function toggleHidden(session: Session, id: number): Session {
  const object = session.objects.find((one) => one.id === id);
  return object ? change(session, id, { hidden: !object.hidden }) : session;
}

export function remove(session: Session, id: number): Session {
  const objects = session.objects.filter((one) => one.id !== id);
  return objects.length < session.objects.length ? step(session, { objects }) : session;
}

export function clear(session: Session): Session {
  return session.current === NOTHING ? session : step(session, { current: NOTHING });
}

export function undo(session: Session): Session {
  const last = session.past.at(-1);
  if (!last) return session;
  const future = [{ current: session.current, objects: session.objects }, ...session.future];
  return { ...session, ...last, past: session.past.slice(0, -1), future };
}

export function redo(session: Session): Session {
  const [next, ...future] = session.future;
  if (!next) return session;
  const past = [...session.past, { current: session.current, objects: session.objects }];
  return { ...session, ...next, past, future };
}
