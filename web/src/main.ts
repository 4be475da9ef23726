/** Starts the page, and its service worker beside it. */
import "./style.css";
import { App } from "./app";
import { encode, type Rle } from "./masks/rle";

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
  state: () => app.describe(),
  maskOf: (index) => {
    const { current, objects } = app.session;
    const mask =
      index === undefined ? app.currentMask() : index >= 100 ? objects[index - 100]?.mask : current.answer?.masks[index];
    return mask ? encode(mask) : null;
  },
  decodeTimes: app.decodeTimes,
};
ready.catch((error: unknown) => app.report(error));

if ("serviceWorker" in navigator) {
  window.addEventListener("load", () => {
    navigator.serviceWorker.register(new URL("sw.js", document.baseURI), { scope: "./" }).catch(() => undefined);
  });
}
