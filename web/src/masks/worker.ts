/** Does the page's jobs with masks and pictures, one after another. */
import { jobs } from "./jobs";
import type { JobAnswer, JobRequest } from "./mask_worker";

let last: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<JobRequest>): void => {
  last = last.then(() => answer(data));
};

async function answer({ id, name, values }: JobRequest): Promise<void> {
  const job = jobs[name] as (...given: unknown[]) => unknown;
  try {
    post({ id, result: await job(...values) });
  } catch (error) {
    post({ id, detail: error instanceof Error ? error.message : String(error) });
  }
}

function post(message: JobAnswer): void {
  const { result } = message;
  const pictures = Array.isArray(result) ? result.filter((one) => one instanceof ImageBitmap) : [];
  self.postMessage(message, { transfer: pictures });
}
