import { describe, expect, it } from "vitest";
import type { Shape } from "../masks/shape";
import * as work from "./session";
import type { Answer, Session } from "./session";

const EDGES = { x0: 0, y0: 0, x1: 0, y1: 0 };
const MASK: Shape = { width: 1, height: 1, area: 1, box: EDGES, counts: "01", rings: [Int32Array.of(0, 0, 1, 0, 1, 1, 0, 1)] };
const BOX = { x0: 1, y0: 2, x1: 3, y1: 4 };
const POINT = { x: 5, y: 6, label: 1 } as const;

function answer(...predictedIou: number[]): Answer {
  return {
    embedding: "e",
    logits: predictedIou.map((value) => Float32Array.of(value)),
    predictedIou,
    masks: predictedIou.map(() => ({ ...MASK })),
  };
}

function withObjects(count: number): Session {
  let session = work.newSession("image");
  for (let index = 0; index < count; index++) {
    session = work.finish(work.acceptLogits(work.addPoint(session, POINT), answer(0.9)));
  }
  return session;
}

function shown({ current, objects }: Session): unknown {
  return { current, objects };
}

describe("the object at hand", () => {
  it("takes points, and feeds the chosen answer back with the next", () => {
    let session = work.addPoint(work.newSession("image"), POINT);
    expect(session.current).toMatchObject({ points: [POINT], previous: null });
    const given = answer(0.2, 0.9, 0.5);
    session = work.acceptLogits(session, given);
    expect(session.current.chosen).toBe(1);
    session = work.addPoint(work.choose(session, 2), { ...POINT, label: 0 });
    expect(session.current.points.map((one) => one.label)).toEqual([1, 0]);
    expect(session.current.previous).toEqual({ embedding: "e", logits: given.logits[2], mask: null });
  });

  it("feeds the chosen mask back where the answer came without logits", () => {
    const given = { ...answer(0.2, 0.9), logits: [] };
    let session = work.acceptLogits(work.addPoint(work.newSession("image"), POINT), given);
    session = work.addPoint(work.choose(session, 0), POINT);
    expect(session.current.previous).toEqual({ embedding: "e", logits: null, mask: given.masks[0] });
    expect(session.current.previous!.mask).toBe(given.masks[0]);
    expect(session.current.mask).toBeNull();
    expect(work.addPoint(session, POINT).current.previous).toEqual(session.current.previous);
    expect(work.removeLast(session).current).toMatchObject({ points: [POINT], previous: null });
  });

  it("chooses only among the masks there are", () => {
    const empty = work.newSession("image");
    expect(work.choose(empty, 0)).toBe(empty);
    const session = work.acceptLogits(work.addPoint(empty, POINT), answer(0.9, 0.1, 0.2));
    expect(work.choose(session, 2).current.chosen).toBe(2);
    expect(work.choose(session, 3)).toBe(session);
  });

  it("begins anew with a box", () => {
    const before = work.acceptLogits(work.addPoint(work.newSession("image"), POINT), answer(0.9));
    expect(work.setBox(before, BOX).current).toEqual({ ...work.NOTHING, box: BOX });
    expect(shown(work.undo(work.setBox(before, BOX)))).toEqual(shown(before));
  });

  it("begins from a mask, which is its answer until another comes", () => {
    const session = work.setMask(work.newSession("image"), MASK, 0.7);
    expect(session.current).toMatchObject({ mask: MASK, points: [], box: null, previous: null });
    expect(work.addPoint(session, POINT).current.previous).toBeNull();
    expect(work.finish(session).objects).toMatchObject([{ mask: MASK, predictedIou: 0.7 }]);
  });

  it("keeps the name of a reopened object through a box and a mask", () => {
    const open = work.reopen(work.rename(withObjects(1), 1, "cup"), 1);
    expect(work.setBox(open, BOX).current.name).toBe("cup");
    expect(work.setMask(open, MASK, 0.7).current.name).toBe("cup");
    expect(work.finish(work.setMask(open, MASK, 0.7)).objects).toMatchObject([{ name: "cup", mask: MASK }]);
  });

  it("loses its last point, then its box, then nothing", () => {
    const boxed = work.acceptLogits(work.addPoint(work.setBox(work.newSession("image"), BOX), POINT), answer(0.9));
    const fewer = work.removeLast(boxed);
    expect(fewer.current).toEqual({ ...work.NOTHING, box: BOX });
    const none = work.removeLast(fewer);
    expect(work.isEmpty(none.current)).toBe(true);
    expect(work.removeLast(none)).toBe(none);
  });

  it("is cleared with one step, and not when there is nothing", () => {
    const session = work.addPoint(work.newSession("image"), POINT);
    expect(work.clear(session).current).toBe(work.NOTHING);
    expect(shown(work.undo(work.clear(session)))).toEqual(shown(session));
    expect(work.clear(work.newSession("image")).past).toEqual([]);
  });
});

describe("finished objects", () => {
  it("come of an answer only", () => {
    const session = work.addPoint(work.newSession("image"), POINT);
    expect(work.finish(session)).toBe(session);
    const given = answer(0.1, 0.8, 0.3);
    const done = work.finish(work.choose(work.acceptLogits(session, given), 2));
    expect(done.current).toBe(work.NOTHING);
    expect(done.objects).toHaveLength(1);
    expect(done.objects[0]).toMatchObject({ id: 1, name: "Object 1", hidden: false, predictedIou: 0.3 });
    expect(done.objects[0]!.mask).toBe(given.masks[2]);
  });

  it("are reopened with their marks and keep their name", () => {
    const named = work.rename(withObjects(2), 1, "cup");
    const open = work.reopen(named, 1);
    expect(open.objects.map((one) => one.id)).toEqual([2]);
    expect(open.current).toMatchObject({ points: [POINT], name: "cup" });
    const again = work.finish(open);
    expect(again.objects.map((one) => one.name)).toEqual(["Object 2", "cup"]);
    expect(new Set(again.objects.map((one) => one.id)).size).toBe(2);
    expect(work.reopen(named, 99)).toBe(named);
  });

  it("are joined by the object at hand when another is reopened", () => {
    const busy = work.acceptLogits(work.setBox(withObjects(1), BOX), answer(0.6));
    const open = work.reopen(busy, 1);
    expect(open.objects).toMatchObject([{ id: 2, predictedIou: 0.6, work: { box: BOX } }]);
    expect(open.current.points).toEqual([POINT]);
    expect(open.past).toHaveLength(busy.past.length + 1);
    expect(shown(work.undo(open))).toEqual(shown(busy));
    expect(shown(work.redo(work.undo(open)))).toEqual(shown(open));
  });

  it("come of a mask found elsewhere in one step, named as the reopened object that it replaces", () => {
    const open = work.reopen(work.rename(withObjects(2), 2, "cup"), 2);
    const taken = work.take(open, MASK, 0.7);
    expect(taken.objects.map(({ id, name }) => [id, name])).toEqual([[1, "Object 1"], [3, "cup"]]);
    expect(taken.current).toBe(work.NOTHING);
    expect(shown(work.undo(taken))).toEqual(shown(open));
  });

  it("never share an id with one that an undone step had made", () => {
    const busy = work.acceptLogits(work.setBox(withObjects(1), BOX), answer(0.6));
    const again = work.finish(work.undo(work.reopen(busy, 1)));
    expect(again.objects.map((one) => one.id)).toEqual([1, 3]);
  });

  it("are renamed, hidden and removed by id", () => {
    const session = withObjects(3);
    expect(work.rename(session, 2, "cup").objects.map((one) => one.name)).toEqual(["Object 1", "cup", "Object 3"]);
    const hidden = work.toggleHidden(session, 3);
    expect(hidden.objects.map((one) => one.hidden)).toEqual([false, false, true]);
    expect(shown(work.toggleHidden(hidden, 3))).toEqual(shown(session));
    expect(work.remove(session, 2).objects.map((one) => one.id)).toEqual([1, 3]);
  });

  it("that are not there change nothing, the way back included", () => {
    const session = withObjects(1);
    expect(work.rename(session, 9, "cup")).toBe(session);
    expect(work.toggleHidden(session, 9)).toBe(session);
    expect(work.remove(session, 9)).toBe(session);
    expect(work.rename(session, 1, "Object 1")).toBe(session);
  });
});

const TRANSITIONS: ((session: Session, draw: () => number) => Session)[] = [
  (session, draw) => work.addPoint(session, { x: draw() * 100, y: draw() * 100, label: draw() < 0.5 ? 0 : 1 }),
  (session, draw) => work.setBox(session, { x0: draw(), y0: draw(), x1: 1 + draw(), y1: 1 + draw() }),
  (session) => work.setMask(session, MASK, 0.5),
  (session) => work.take(session, MASK, 0.5),
  (session) => work.removeLast(session),
  (session, draw) => work.choose(session, Math.floor(draw() * 3)),
  (session, draw) => (work.isEmpty(session.current) ? session : work.acceptLogits(session, answer(draw(), draw(), draw()))),
  (session) => work.finish(session),
  (session, draw) => work.reopen(session, Math.ceil(draw() * session.nextId)),
  (session, draw) => work.rename(session, Math.ceil(draw() * session.nextId), `name ${draw()}`),
  (session, draw) => work.toggleHidden(session, Math.ceil(draw() * session.nextId)),
  (session, draw) => work.remove(session, Math.ceil(draw() * session.nextId)),
  (session) => work.clear(session),
];

function drawing(seed: number): () => number {
  let state = seed * 2654435761;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("the way back", () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])("is the inverse of the work, sequence %i", (seed) => {
    const draw = drawing(seed);
    let session = work.newSession("image");
    for (let count = 0; count < 60; count++) {
      const before = session;
      session = TRANSITIONS[Math.floor(draw() * TRANSITIONS.length)]!(before, draw);
      let back = session;
      expect(session.past.length - before.past.length).toBeLessThanOrEqual(1);
      if (session.past.length > before.past.length) back = work.undo(back);
      if (back !== session) expect(shown(back)).toEqual(shown(before));
      if (session.past.length) expect(work.redo(work.undo(session))).toEqual({ ...session, future: [] });
      expect(new Set(session.objects.map((one) => one.id)).size).toBe(session.objects.length);
    }
    let back = session;
    while (back.past.length) back = work.undo(back);
    expect(shown(back)).toEqual({ current: work.NOTHING, objects: [] });
    while (back.future.length) back = work.redo(back);
    expect(shown(back)).toEqual(shown(session));
  });

  it("ends at both ends, and a new step forgets what was undone", () => {
    const empty = work.newSession("image");
    expect(work.undo(empty)).toBe(empty);
    expect(work.redo(empty)).toBe(empty);
    const other = work.setBox(work.undo(work.addPoint(empty, POINT)), BOX);
    expect(other.future).toEqual([]);
    expect(work.redo(other)).toBe(other);
  });

  it("is bounded", () => {
    let session = work.newSession("image");
    for (let count = 0; count < 250; count++) session = work.addPoint(session, POINT);
    expect(session.past).toHaveLength(200);
  });
});
