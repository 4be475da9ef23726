/** Everything on the page: its progress, its slider between wholes and parts, and its coloured masks. */
import { objectColor, type Color } from "../masks/colors";
import type { MaskWorker } from "../masks/mask_worker";
import type { Shape } from "../masks/shape";
import { button, element } from "../ui/dom";
import { atLevel, findEverything, maskAt, numLevels, type Found } from "./everything";

export interface EverythingHandlers {
  changed(): void;
  take(mask: Shape, predictedIou: number): void;
  failed(error: unknown): void;
  say(text: string): void;
}

export class EverythingTool {
  isOpen = false;
  #found: Found[] = [];
  #shown: Found[] = [];
  #stop = new AbortController();

  constructor(
    readonly host: HTMLElement,
    readonly handlers: EverythingHandlers,
    readonly worker: MaskWorker,
  ) {}

  async open(imageId: string): Promise<void> {
    this.isOpen = true;
    const stop = (this.#stop = new AbortController());
    const progress = element("progress", { max: "1", value: "0", "aria-label": "Progress" });
    const cancel = button("Stop", { className: "small", onClick: () => this.close() });
    this.host.replaceChildren("Looking for everything…", progress, cancel);
    this.host.hidden = false;
    this.handlers.changed();
    try {
      const found = await findEverything(imageId, {}, (share) => (progress.value = share), stop.signal, this.worker);
      if (stop.signal.aborted) return;
      this.#found = found;
      this.#showSlider();
    } catch (error) {
      if (stop.signal.aborted) return;
      this.close();
      this.handlers.failed(error);
    }
  }

  close(): void {
    if (!this.isOpen) return;
    this.#stop.abort();
    this.isOpen = false;
    this.host.hidden = true;
    this.#found = this.#shown = [];
    this.handlers.changed();
  }

  layers(): { mask: Shape; color: Color; strong: boolean }[] {
    return this.#shown.map((one) => ({ mask: one.mask, color: objectColor(this.#found.indexOf(one)), strong: false }));
  }

  /** Makes the mask at a place of the image an object. */
  takeAt(x: number, y: number): void {
    const one = maskAt(this.#shown, x, y);
    if (!one) return;
    this.handlers.take(one.mask, one.predictedIou);
    this.handlers.say("Taken as an object.");
  }

  #showSlider(): void {
    const last = numLevels(this.#found) - 1;
    const slider = element("input", { type: "range", min: "0", max: String(last), step: "1", "aria-label": "From parts to wholes" });
    const count = element("output", {});
    const show = (): void => {
      // The slider's right end shows wholes.
      this.#shown = atLevel(this.#found, last - Number(slider.value)).sort((one, other) => other.area - one.area);
      count.value = `${this.#shown.length} of ${this.#found.length}`;
      this.handlers.changed();
    };
    slider.value = String(last);
    slider.disabled = last === 0;
    slider.addEventListener("input", show);
    const label = element("label", {}, ["parts", slider, "wholes"]);
    const close = button("", { icon: "close", className: "small icon", title: "Close everything", onClick: () => this.close() });
    this.host.replaceChildren(label, count, close);
    show();
    this.handlers.say(`${this.#found.length} masks found. Click one to take it.`);
  }
}
