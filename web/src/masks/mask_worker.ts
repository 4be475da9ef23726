/** The worker for masks and pictures as the page sees it: each job is a promise. */
import type { Jobs } from "./jobs";

export interface JobRequest {
  id: number;
  name: keyof Jobs;
  values: unknown[];
}

export interface JobAnswer {
  id: number;
  result?: unknown;
  detail?: string;
}

type Waiting = { resolve: (result: never) => void; reject: (error: Error) => void };

export class MaskWorker {
  readonly #worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "masks" });
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 0;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<JobAnswer>) => this.#settle(data);
    this.#worker.onerror = (event) => this.#fail(new Error(event.message || "the worker for masks failed"));
  }

  /** Rejects with the job's own message where it throws. */
  run<Name extends keyof Jobs>(name: Name, ...values: Parameters<Jobs[Name]>): Promise<Awaited<ReturnType<Jobs[Name]>>> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, name, values } satisfies JobRequest);
    });
  }

  #settle({ id, result, detail }: JobAnswer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (detail === undefined) waiting?.resolve(result as never);
    else waiting?.reject(new Error(detail));
  }

  #fail(error: Error): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(error);
  }
}
