/**
 * Embeddings of images and of parts of them: from the browser's own store first, then from the server.
 */
import { getEmbedding, type Image, type Model, type Region } from "../api/client";
import type { Decoder } from "../decoder/decoder";
import { unpackEmbedding } from "../decoder/wire";
import type { Frame } from "../geometry/frame";
import type { EmbeddingStore } from "../store/embeddings";

/** An embedding that the decoder holds: its key there, and where it lies in the image. */
export interface Ready {
  key: string;
  frame: Frame;
  /** Corner of the region in the image, (0, 0) for all of it. */
  x0: number;
  y0: number;
  region: Region | null;
}

export class Embedder {
  readonly #given = new Map<string, Ready>();

  constructor(
    readonly model: Model,
    readonly store: EmbeddingStore | null,
    readonly decoder: Promise<Decoder>,
  ) {
    decoder.catch(() => undefined); // whoever opens it is told
  }

  /** Brings an embedding to the decoder. The signal stops a download that nobody waits for any longer. */
  async prepare(image: Image, region: Region | null, signal: AbortSignal): Promise<Ready> {
    const key = [this.model.identity, image.id, ...(region ? [region.join("_")] : [])].join("-");
    const known = this.#given.get(key);
    if (known) {
      this.#touch(key, known);
      return known;
    }
    const { features, frame } = await this.#load(key, image, region, signal);
    signal.throwIfAborted();
    const { num_channels, grid_size } = this.model;
    await (await this.decoder).setEmbedding(key, features, [num_channels, grid_size, grid_size]);
    const ready = { key, frame, x0: region?.[0] ?? 0, y0: region?.[1] ?? 0, region };
    this.#touch(key, ready);
    return ready;
  }

  async #load(
    key: string,
    image: Image,
    region: Region | null,
    signal: AbortSignal,
  ): Promise<{ features: Float32Array; frame: Frame }> {
    const kept = await this.store?.get(key).catch(() => null);
    if (kept) {
      try {
        return unpackEmbedding(kept);
      } catch {
        // What the store holds is damaged: as if it held nothing.
      }
    }
    const sent = await getEmbedding(image.id, this.model.identity, region, signal);
    const unpacked = unpackEmbedding(sent);
    await this.store?.put(key, sent).catch(() => undefined); // a full disk costs a later download alone
    return unpacked;
  }

  /** The worker keeps the newest four; this keeps in step with it by never trusting it with more than three. */
  #touch(key: string, ready: Ready): void {
    this.#given.delete(key);
    this.#given.set(key, ready);
    for (const old of this.#given.keys()) {
      if (this.#given.size <= 3) break;
      this.#given.delete(old);
    }
  }
}
