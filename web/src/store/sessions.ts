/** The work on each image in the browser's own database, within a bound: the images worked on longest ago make room. */
import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { Shape } from "../masks/shape";
import { isUntouched, NOTHING, type CurrentObject, type FinishedObject, type Session } from "../session/session";

interface ImageRecord {
  imageId: string;
  used: number;
  size: number;
  nextId: number;
  current: CurrentObject;
  /** Keys of the finished objects, in order. */
  objects: string[];
}

interface Schema extends DBSchema {
  images: { key: string; value: ImageRecord; indexes: { used: number } };
  objects: { key: string; value: FinishedObject };
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

  /** What was kept of the work on an image, or null; the way back is not kept. */
  async get(imageId: string): Promise<Session | null> {
    const transaction = this.database.transaction(["images", "objects"]);
    const record = await transaction.objectStore("images").get(imageId);
    if (!record) return null;
    const found = await Promise.all(record.objects.map((key) => transaction.objectStore("objects").get(key)));
    const objects = found.flatMap((object, index) => {
      if (!object) return [];
      this.#remember(object, record.objects[index]!);
      return [object];
    });
    const { nextId } = record;
    const current = isUntouched(record.current) ? NOTHING : record.current; // the page knows nothing by identity
    return { imageId, current, objects, past: [], future: [], nextId };
  }

  /** Keeps the work on an image in place of what was kept of it. Throws RangeError where it alone exceeds the bound. */
  async put(session: Session): Promise<void> {
    const { imageId, nextId, current } = session;
    const keys = session.objects.map((object) => this.#keyOf(object));
    const size = keys.reduce((sum, key) => sum + this.#sizes.get(key)!, sizeOf(current));
    if (size > this.maxBytes) throw new RangeError("The objects of this picture are too many to be kept; export them.");
    const transaction = this.database.transaction(["images", "objects"], "readwrite");
    const [images, objects] = [transaction.objectStore("images"), transaction.objectStore("objects")];
    const before = await images.get(imageId);
    await Promise.all((before?.objects ?? []).filter((key) => !keys.includes(key)).map((key) => objects.delete(key)));
    for (const [index, key] of keys.entries()) {
      // Another tab may have taken away what this one wrote.
      if (!(await objects.getKey(key))) await objects.put(session.objects[index]!, key);
    }
    if (keys.length || !isUntouched(current)) {
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

  #keyOf(object: FinishedObject): string {
    const known = this.#keys.get(object);
    if (known) return known;
    const chance = crypto.getRandomValues(new Uint32Array(2)).join("-"); // two tabs must not meet
    const key = `${chance}-${this.#numKeys++}`;
    this.#remember(object, key);
    return key;
  }

  #remember(object: FinishedObject, key: string): void {
    this.#keys.set(object, key);
    this.#sizes.set(key, sizeOf(object.work) + shapeSize(object.mask));
  }

  /** The time, never the same twice: uses within a millisecond keep their order. */
  #nextUse(): number {
    this.#lastUse = Math.max(Date.now(), this.#lastUse + 0.001);
    return this.#lastUse;
  }
}

/** About the bytes that an object's marks and masks take on disk. */
function sizeOf({ points, mask, previous, answer }: CurrentObject): number {
  const masks = [mask, previous?.mask ?? null, ...(answer?.masks ?? [])].reduce((sum, one) => sum + shapeSize(one), 0);
  const logits = [previous?.logits, ...(answer?.logits ?? [])];
  return 500 + points.length * 50 + masks + logits.reduce((sum, one) => sum + (one?.byteLength ?? 0), 0);
}

function shapeSize(shape: Shape | null): number {
  return shape ? 100 + shape.counts.length + shape.rings.reduce((sum, ring) => sum + ring.byteLength, 0) : 0;
}
