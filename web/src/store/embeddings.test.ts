import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EmbeddingStore } from "./embeddings";

const opened: EmbeddingStore[] = [];

async function open(maxBytes: number): Promise<EmbeddingStore> {
  const store = await EmbeddingStore.open({ maxBytes });
  opened.push(store);
  return store;
}

function bytes(length: number, fill = 1): ArrayBuffer {
  return new Uint8Array(length).fill(fill).buffer;
}

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
});

afterEach(() => {
  for (const store of opened.splice(0)) store.database.close();
});

async function kept(store: EmbeddingStore): Promise<string[]> {
  return (await store.database.getAllKeys("embeddings")).sort();
}

describe("the store of embeddings", () => {
  it("gives back what was put and null for what was not", async () => {
    const store = await open(100);
    await store.put("a", bytes(10, 7));
    expect(new Uint8Array((await store.get("a"))!)).toEqual(new Uint8Array(10).fill(7));
    expect(await store.get("b")).toBeNull();
    expect(await store.size()).toBe(10);
  });

  it("drops the least recently used, whatever their names and however quick the uses", async () => {
    const store = await open(30);
    for (const key of ["c", "b", "a"]) await store.put(key, bytes(10));
    await store.get("c");
    await store.put("z", bytes(10));
    expect(await kept(store)).toEqual(["a", "c", "z"]);
    await store.put("y", bytes(10));
    expect(await kept(store)).toEqual(["c", "y", "z"]);
    await store.put("x", bytes(20));
    expect(await kept(store)).toEqual(["x", "y"]);
  });

  it("never holds more than its bound", async () => {
    const store = await open(50);
    for (let index = 0; index < 12; index++) {
      await store.put(`key ${index % 7}`, bytes(1 + ((index * 13) % 40)));
      expect(await store.size()).toBeLessThanOrEqual(50);
      expect(await store.get(`key ${index % 7}`)).not.toBeNull();
    }
    expect((await store.database.getAllKeys("uses")).sort()).toEqual(await kept(store));
  });

  it("takes no embedding that is larger than the bound, and keeps the others", async () => {
    const store = await open(10);
    await store.put("a", bytes(10));
    await store.put("b", bytes(11));
    expect(await kept(store)).toEqual(["a"]);
  });

  it("counts an embedding put twice once", async () => {
    const store = await open(100);
    await store.put("a", bytes(40));
    await store.put("a", bytes(30, 2));
    expect(await store.size()).toBe(30);
    expect(new Uint8Array((await store.get("a"))!)[0]).toBe(2);
  });

  it("survives reopening, with the order of uses", async () => {
    const first = await open(20);
    await first.put("b", bytes(10, 5));
    await first.put("a", bytes(10));
    await first.get("b");
    first.database.close();
    const second = await open(20);
    expect(await second.size()).toBe(20);
    await second.put("c", bytes(10));
    expect(await kept(second)).toEqual(["b", "c"]);
    expect(new Uint8Array((await second.get("b"))!)).toEqual(new Uint8Array(10).fill(5));
  });

  it("is empty after clear", async () => {
    const store = await open(100);
    await store.put("a", bytes(10));
    await store.clear();
    expect(await store.size()).toBe(0);
    expect(await store.get("a")).toBeNull();
  });
});
