/**
 * The decoder as the page sees it: embeddings go in once, then prompts, and masks come out of a worker.
 */
import type { Packed } from "../prompts/prompt";
import type { Answer, Decoded, Outputs, Provider, Request } from "./messages";

export type { Decoded, Outputs, Provider } from "./messages";

export interface DecoderOptions {
  graph: ArrayBuffer;
  numThreads: number;
  provider: Provider;
  logitSize: number;
}

type Unnumbered<R> = R extends Request ? Omit<R, "id"> : never;
type Waiting = { resolve: (answer: Answer) => void; reject: (error: Error) => void };
type Latest = { run: () => Promise<Decoded>; resolve: (decoded: Decoded | null) => void; reject: (error: Error) => void };

export class Decoder {
  numThreads = 1;
  readonly provider: Provider;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 0;
  #latestRuns = false;
  #latest: Latest | null = null;

  private constructor(provider: Provider) {
    this.provider = provider;
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "decoder" });
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#settle(data);
    this.#worker.onerror = (event) => this.#fail(new Error(event.message || "the decoder's worker failed"));
  }

  /** Starts a worker and compiles the graph in it. Rejects where the browser cannot run it. */
  static async open(options: DecoderOptions): Promise<Decoder> {
    const decoder = new Decoder(options.provider);
    try {
      const answer = await decoder.#ask({ kind: "open", ...options });
      if (answer.kind === "opened") decoder.numThreads = answer.numThreads;
      return decoder;
    } catch (error) {
      decoder.close();
      throw error;
    }
  }

  /** Gives the worker an embedding (C, G, G) to decode with under a key; the newest few are kept. */
  async setEmbedding(key: string, features: Float32Array, shape: [number, number, number]): Promise<void> {
    await this.#ask({ kind: "embedding", key, features, shape });
  }

  /** Masks for one prompt: the single one, or the three of an ambiguous prompt. */
  async decode(key: string, packed: Packed, outputs: Outputs): Promise<Decoded> {
    const answer = await this.#ask({ kind: "decode", key, packed, outputs });
    if (answer.kind !== "decoded") throw new Error("the decoder's worker answered something else");
    return answer.decoded;
  }

  /** As decode, but null where a newer call of this came before it was its turn: at most one is in flight. */
  decodeLatest(key: string, packed: Packed, outputs: Outputs): Promise<Decoded | null> {
    return new Promise((resolve, reject) => {
      this.#latest?.resolve(null);
      this.#latest = { run: () => this.decode(key, packed, outputs), resolve, reject };
      if (!this.#latestRuns) void this.#runLatest();
    });
  }

  /** Drops a preview that waits. */
  dropLatest(): void {
    this.#latest?.resolve(null);
    this.#latest = null;
  }

  /** Stops the worker; whatever waits is rejected. */
  close(): void {
    this.#worker.terminate();
    this.#fail(new Error("the decoder was closed"));
  }

  async #runLatest(): Promise<void> {
    this.#latestRuns = true;
    while (this.#latest) {
      const { run, resolve, reject } = this.#latest;
      this.#latest = null;
      await run().then(resolve, reject);
    }
    this.#latestRuns = false;
  }

  #ask(request: Unnumbered<Request>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...request, id });
    });
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.kind === "failed") waiting?.reject(new Error(answer.detail));
    else waiting?.resolve(answer);
  }

  #fail(error: Error): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(error);
  }
}
