/** The work on each image in the browser's own database, within a bound: the images worked on longest ago make room. */
import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { FinishedObject, Session } from "../session/session";
import {
  isWorthKeeping, restoreObject, restoreWork, sizeOf, storeObject, storeWork, type StoredObject, type StoredWork,
} from "../session/stored";

interface ImageRecord {
  imageId: string;
  used: number;
  size: number;
  nextId: number;
  current: StoredWork;
  /** Keys of the finished objects, in order. */
  objects: string[];
}

interface Schema extends DBSchema {
  images: { key: string; value: ImageRecord; indexes: { used: number } };
  objects: { key: string; value: StoredObject };
}

export class SessionStore {
  /** Finished objects do not change: each is written once, under a key of its own. */
  readonly #keys = new WeakMap<FinishedObject, string>();
  readonly #sizes = new Map<string, number>();
  #lastUse = 0;
  #numKeys = 0;

  private constructor(
    readonly database: IDBPDatabase<Schema>,
    readonly maxBytes: number,
  ) {}

  static async open({ maxBytes }: { maxBytes: number }): Promise<SessionStore> {
    const database = await openDB<Schema>("segloop-sessions", 1, {
      upgrade(made) {
        made.createObjectStore("images", { keyPath: "imageId" }).createIndex("used", "used");
        made.createObjectStore("objects");
      },
    });
    return new SessionStore(database, maxBytes);
  }

  /** What was kept of the work on an image, or null; the way back is not kept. Throws for a damaged record. */
  async get(imageId: string): Promise<Session | null> {
    const transaction = this.database.transaction(["images", "objects"]);
    const record = await transaction.objectStore("images").get(imageId);
    if (!record) return null;
    const found = await Promise.all(record.objects.map((key) => transaction.objectStore("objects").get(key)));
    const objects = found.flatMap((stored, index) => {
      if (!stored) return [];
      const object = restoreObject(stored);
      this.#remember(object, record.objects[index]!, sizeOf(stored));
      return [object];
    });
    return { imageId, current: restoreWork(record.current), objects, past: [], future: [], nextId: record.nextId };
  }

  /** Keeps the work on an image in place of what was kept of it. Throws RangeError where it alone exceeds the bound. */
  async put(session: Session): Promise<void> {
    const { imageId, nextId } = session;
    const fresh = new Map<string, StoredObject>();
    const keys = session.objects.map((object) => this.#keyOf(object, fresh));
    const current = storeWork(session.current);
    const size = keys.reduce((sum, key) => sum + this.#sizes.get(key)!, sizeOf(current));
    if (size > this.maxBytes) throw new RangeError("The objects of this picture are too many to be kept; export them.");
    const transaction = this.database.transaction(["images", "objects"], "readwrite");
    const [images, objects] = [transaction.objectStore("images"), transaction.objectStore("objects")];
    const before = await images.get(imageId);
    await Promise.all((before?.objects ?? []).filter((key) => !keys.includes(key)).map((key) => objects.delete(key)));
    if (isWorthKeeping(session)) {
      const byKey = new Map(keys.map((key, index) => [key, session.objects[index]!]));
      for (const key of keys) {
        // Another tab may have taken away what this one wrote.
        if (!(await objects.getKey(key))) await objects.put(fresh.get(key) ?? storeObject(byKey.get(key)!), key);
      }
      await images.put({ imageId, used: this.#nextUse(), size, nextId, current, objects: keys });
    } else await images.delete(imageId);
    const all = await images.index("used").getAll();
    let total = all.reduce((sum, one) => sum + one.size, 0);
    for (const old of all) {
      if (total <= this.maxBytes) break;
      if (old.imageId === imageId) continue;
      await Promise.all([images.delete(old.imageId), ...old.objects.map((key) => objects.delete(key))]);
      total -= old.size;
    }
    await transaction.done;
  }

  /** About the bytes kept. */
  async size(): Promise<number> {
    return (await this.database.getAll("images")).reduce((sum, one) => sum + one.size, 0);
  }

  #keyOf(object: FinishedObject, fresh: Map<string, StoredObject>): string {
    const known = this.#keys.get(object);
    if (known) return known;
    const stored = storeObject(object);
    const chance = crypto.getRandomValues(new Uint32Array(2)).join("-"); // two tabs must not meet
    const key = `${chance}-${this.#numKeys++}`;
    fresh.set(key, stored);
    this.#remember(object, key, sizeOf(stored));
    return key;
  }

  #remember(object: FinishedObject, key: string, size: number): void {
    this.#keys.set(object, key);
    this.#sizes.set(key, size);
  }

  /** The time, never the same twice: uses within a millisecond keep their order. */
  #nextUse(): number {
    this.#lastUse = Math.max(Date.now(), this.#lastUse + 0.001);
    return this.#lastUse;
  }
}
