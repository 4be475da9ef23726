import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { beforeEach, describe, expect, it, vi } from "vitest";
import * as work from "../session/session";
import { SessionStore } from "../store/sessions";
import { Keeper } from "./keeper";

const POINT = { x: 5, y: 6, label: 1 } as const;
const failures: unknown[] = [];

function keeper(store = SessionStore.open({ maxBytes: 1e6 })): Keeper {
  return new Keeper(store, (error) => failures.push(error));
}

async function idle(one: Keeper): Promise<void> {
  await vi.waitFor(() => expect(one.isIdle).toBe(true));
}

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
  failures.length = 0;
});

describe("the keeper", () => {
  it("has sessions as they were left, the way back included", async () => {
    const one = keeper(Promise.resolve(null) as never);
    const session = work.addPoint(await one.session("a"), POINT);
    one.keep(session);
    expect(await one.session("b")).toEqual(work.newSession("b"));
    expect(await one.session("a")).toBe(session);
  });

  it("writes the last change a moment later, and gives it to the next visit", async () => {
    const one = keeper();
    let session = await one.session("a");
    for (let count = 0; count < 3; count++) one.keep((session = work.addPoint(session, POINT)));
    expect(one.isIdle).toBe(false);
    await idle(one);
    expect((await keeper().session("a")).current.points).toHaveLength(3);
  });

  it("loses nothing when the image changes before the moment is over", async () => {
    const one = keeper();
    for (const id of ["a", "b"]) one.keep(work.addPoint(await one.session(id), POINT));
    one.flush();
    await idle(one);
    for (const id of ["a", "b"]) expect((await keeper().session(id)).current.points).toEqual([POINT]);
  });

  it("does not write what did not change", async () => {
    const one = keeper();
    one.keep(await one.session("a"));
    expect(one.isIdle).toBe(true);
  });

  it("tells of what cannot be kept, and goes on", async () => {
    const one = keeper(SessionStore.open({ maxBytes: 600 }));
    const many = Array.from({ length: 100 }, () => POINT);
    one.keep(many.reduce(work.addPoint, await one.session("a")));
    one.flush();
    await idle(one);
    expect(failures).toHaveLength(1);
    one.keep(work.addPoint(await one.session("b"), POINT));
    await idle(one);
    expect(failures).toHaveLength(1);
    expect((await one.session("a")).current.points).toHaveLength(100);
  });
});
