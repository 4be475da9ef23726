/** Starts the page, and its service worker beside it. */
import "./style.css";
import { App } from "./app";
import { describe, maskOf } from "./inspect";
import type { Rle } from "./masks/rle";

declare global {
  interface Window {
    /** For tests: what the page knows. Nothing on the page uses it. */
    segloop: {
      /** The first picture can be clicked. */
      ready: Promise<void>;
      /** Every mark so far has its mask. */
      settled: () => Promise<void>;
      state: () => object;
      /** The current mask's choice 0 to 2, or the chosen one; objects begin at 100. */
      maskOf: (index?: number) => Rle | null;
      /** Milliseconds of each decode, previews included. */
      decodeTimes: number[];
    };
  }
}

const app = new App();
const ready = app.start();
window.segloop = {
  ready,
  settled: () => app.settled(),
  state: () => describe(app.parts),
  maskOf: (index) => maskOf(app.parts.session, index),
  decodeTimes: app.parts.space.decodeTimes,
};
ready.catch((error: unknown) => app.report(error));

if ("serviceWorker" in navigator) {
  window.addEventListener("load", () => {
    navigator.serviceWorker.register(new URL("sw.js", document.baseURI), { scope: "./" }).catch(() => undefined);
  });
}
