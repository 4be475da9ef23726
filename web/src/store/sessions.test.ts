import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { shapeOf, type Shape } from "../masks/shape";
import * as work from "../session/session";
import type { Session } from "../session/session";
import { SessionStore } from "./sessions";

const opened: SessionStore[] = [];

async function open(maxBytes = 1e6): Promise<SessionStore> {
  const store = await SessionStore.open({ maxBytes });
  opened.push(store);
  return store;
}

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
});

afterEach(() => {
  for (const store of opened.splice(0)) store.database.close();
});

function mask(seed: number): Shape {
  const data = Uint8Array.from({ length: 20 }, (_, index) => ((index * seed) % 3 === 1 ? 1 : 0));
  return shapeOf({ width: 5, height: 4, data });
}

function answered(session: Session, seed: number, numLogits = 8): Session {
  const masks = [mask(seed), mask(seed + 1), mask(seed + 3)];
  const logits = masks.map((_, index) => new Float32Array(numLogits).fill(seed + index / 10));
  return work.acceptLogits(session, { embedding: "e", logits, predictedIou: [0.1, 0.7, 0.2], masks });
}

/** A session with finished objects, one of them named and hidden, and another object at hand. */
function busy(imageId: string, count = 2): Session {
  let session = work.newSession(imageId);
  for (let index = 0; index < count; index++) {
    session = work.finish(answered(work.addPoint(session, { x: index, y: 2, label: 1 }), index + 1));
  }
  session = work.toggleHidden(work.rename(session, 1, "Tasse é"), 1);
  session = work.finish(work.setMask(session, mask(7), 0.5));
  session = answered(work.addPoint(session, { x: 1, y: 1, label: 1 }), 4);
  return answered(work.addPoint(session, { x: 3, y: 0, label: 0 }), 5);
}

function bare({ imageId, current, objects, nextId }: Session): unknown {
  return { imageId, current, objects, nextId };
}

async function numObjects(store: SessionStore): Promise<number> {
  return store.database.count("objects");
}

describe("the store of sessions", () => {
  it("gives back all but the way back, to another visit too", async () => {
    const session = busy("a");
    const first = await open();
    expect(await first.get("a")).toBeNull();
    await first.put(session);
    first.database.close();
    const second = await open();
    const kept = (await second.get("a"))!;
    expect(bare(kept)).toEqual(bare(session));
    expect(kept.past).toEqual([]);
    expect(await second.get("b")).toBeNull();
    const [object] = kept.objects;
    expect(object!.mask).toBe(object!.work.answer!.masks[1]);
    expect(work.reopen(kept, 2).current.points).toEqual([{ x: 1, y: 2, label: 1 }]);
  });

  it("keeps an object at hand that has no answer yet, and knows nothing as nothing", async () => {
    const store = await open();
    const session = work.setBox(work.newSession("a"), { x0: 1, y0: 0, x1: 3.5, y1: 4 });
    await store.put(session);
    expect((await store.get("a"))!.current).toEqual(session.current);
    const done = work.finish(answered(session, 1));
    await store.put(done);
    expect((await store.get("a"))!.current).toBe(work.NOTHING);
  });

  it("writes each finished object once, and forgets those that went", async () => {
    const store = await open();
    const session = busy("a", 4);
    await store.put(session);
    const keys = await store.database.getAllKeys("objects");
    expect(keys).toHaveLength(5);
    await store.put(work.remove(session, 2));
    const left = await store.database.getAllKeys("objects");
    expect(left).toHaveLength(4);
    expect(keys).toEqual(expect.arrayContaining(left));
    await store.put(session);
    expect(bare((await store.get("a"))!)).toEqual(bare(session));
  });

  it("writes again what another tab took away", async () => {
    const [one, other] = [await open(), await open()];
    const session = busy("a");
    await one.put(session);
    await other.put(work.addPoint(work.newSession("a"), { x: 0, y: 0, label: 1 }));
    await one.put(work.clear(session));
    expect(bare((await other.get("a"))!)).toEqual(bare(work.clear(session)));
  });

  it("holds nothing of a session that has become empty", async () => {
    const store = await open();
    await store.put(busy("a"));
    await store.put(work.newSession("a"));
    expect([await store.size(), await numObjects(store), await store.get("a")]).toEqual([0, 0, null]);
  });

  it("drops the images worked on longest ago, with their objects", async () => {
    const probe = await open();
    await probe.put(busy("a"));
    const one = await probe.size();
    const store = await open(3 * one);
    for (const id of ["b", "c", "d"]) await store.put(busy(id));
    expect(await store.get("a")).toBeNull();
    await store.put(work.clear(busy("b")));
    await store.put(busy("e"));
    expect(await store.get("c")).toBeNull();
    for (const id of ["b", "d", "e"]) expect((await store.get(id))!.objects).toHaveLength(3);
    expect(await numObjects(store)).toBe(9);
    expect(await store.size()).toBeLessThanOrEqual(3 * one);
  });

  it("says that the work on one image exceeds the bound, and leaves what was kept", async () => {
    const store = await open(20_000);
    const session = busy("a");
    await store.put(session);
    const large = answered(work.addPoint(session, { x: 0, y: 0, label: 1 }), 9, 10_000);
    await expect(store.put(large)).rejects.toThrow("too many to be kept");
    expect(bare((await store.get("a"))!)).toEqual(bare(session));
  });
});
