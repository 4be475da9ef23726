/** Embeddings in the browser's own database, as they came, within a bound. */
import { openDB, type DBSchema, type IDBPDatabase } from "idb";

interface Schema extends DBSchema {
  embeddings: { key: string; value: { bytes: ArrayBuffer } };
  uses: { key: string; value: { key: string; size: number; used: number }; indexes: { used: number } };
}

export class EmbeddingStore {
  private lastUse = 0;

  private constructor(
    readonly database: IDBPDatabase<Schema>,
    readonly maxBytes: number,
  ) {}

  static async open({ maxBytes }: { maxBytes: number }): Promise<EmbeddingStore> {
    const database = await openDB<Schema>("segloop", 1, {
      upgrade(made) {
        made.createObjectStore("embeddings");
        made.createObjectStore("uses", { keyPath: "key" }).createIndex("used", "used");
      },
    });
    return new EmbeddingStore(database, maxBytes);
  }

  /** The time, never the same twice: uses within a millisecond keep their order. */
  private nextUse(): number {
    this.lastUse = Math.max(Date.now(), this.lastUse + 0.001);
    return this.lastUse;
  }

  /** What was put under a key, or null; counts as a use. */
  async get(key: string): Promise<ArrayBuffer | null> {
    const transaction = this.database.transaction(["embeddings", "uses"], "readwrite");
    const found = await transaction.objectStore("embeddings").get(key);
    if (found) {
      await transaction.objectStore("uses").put({ key, size: found.bytes.byteLength, used: this.nextUse() });
    }
    await transaction.done;
    return found?.bytes ?? null;
  }

  /** Keeps the bytes; those used longest ago make room. */
  async put(key: string, bytes: ArrayBuffer): Promise<void> {
    if (bytes.byteLength > this.maxBytes) return;
    const transaction = this.database.transaction(["embeddings", "uses"], "readwrite");
    const embeddings = transaction.objectStore("embeddings");
    const uses = transaction.objectStore("uses");
    await embeddings.put({ bytes }, key);
    await uses.put({ key, size: bytes.byteLength, used: this.nextUse() });
    const all = await uses.index("used").getAll();
    let total = all.reduce((sum, one) => sum + one.size, 0);
    for (const old of all) {
      if (total <= this.maxBytes) break;
      if (old.key === key) continue;
      await Promise.all([embeddings.delete(old.key), uses.delete(old.key)]);
      total -= old.size;
    }
    await transaction.done;
  }

  async clear(): Promise<void> {
    const transaction = this.database.transaction(["embeddings", "uses"], "readwrite");
    await Promise.all([transaction.objectStore("embeddings").clear(), transaction.objectStore("uses").clear()]);
    await transaction.done;
  }

  /** Bytes kept. */
  async size(): Promise<number> {
    return (await this.database.getAll("uses")).reduce((sum, one) => sum + one.size, 0);
  }
}
