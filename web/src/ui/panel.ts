/**
 * The right side: the current object and its chooser, the finished objects, and what can be taken away.
 */
import { pathOf } from "../canvas/path";
import { CURRENT, cssColor, type Color } from "../masks/colors";
import type { Shape } from "../masks/shape";
import { button, element } from "./dom";

export type ExportKind = "copy" | "mask" | "cut-out" | "overlay" | "json";

export interface Choice {
  mask: Shape;
  predictedIou: number;
}

export interface ListedObject {
  id: number;
  name: string;
  hidden: boolean;
  color: Color;
}

export interface PanelState {
  choices: readonly Choice[];
  chosen: number;
  /** One line about the current mask, or nothing. */
  facts: string;
  objects: readonly ListedObject[];
}

export interface PanelHandlers {
  choose(output: number): void;
  finish(): void;
  export(kind: ExportKind): void;
  exportAll(): void;
  rename(id: number, name: string): void;
  toggleHidden(id: number): void;
  reopen(id: number): void;
  remove(id: number): void;
  wantGpu(wanted: boolean): void;
  emptyStore(): void;
}

export class Panel {
  readonly #current = element("section", { "aria-labelledby": "current-title" });
  readonly #objects = element("section", { "aria-labelledby": "objects-title" });
  #drawnChoices: readonly Choice[] = [];
  #picture: CanvasImageSource | null = null;

  constructor(
    host: HTMLElement,
    readonly handlers: PanelHandlers,
    wantsGpu: boolean,
  ) {
    const gpu = element("input", { type: "checkbox", checked: wantsGpu });
    gpu.addEventListener("change", () => handlers.wantGpu(gpu.checked));
    const settings = element("section", { class: "settings" }, [
      element("label", {}, [gpu, "Decode by WebGPU where it agrees"]),
      button("Forget kept embeddings", { className: "small", onClick: () => handlers.emptyStore() }),
    ]);
    host.replaceChildren(this.#current, this.#objects, settings);
  }

  setPicture(picture: CanvasImageSource | null): void {
    this.#picture = picture;
  }

  show(state: PanelState): void {
    this.#showCurrent(state);
    this.#showObjects(state.objects);
  }

  #showCurrent({ choices, chosen, facts }: PanelState): void {
    const title = element("h2", { id: "current-title" }, ["Object"]);
    if (!choices.length) {
      this.#drawnChoices = [];
      const hint = matchMedia("(pointer: coarse)").matches
        ? "Tap something, or drag a box around it. With Exclude on, taps mark what does not belong."
        : "Point at something and click. Right-click what does not belong, or drag a box.";
      this.#current.replaceChildren(title, element("p", { class: "hint" }, [hint]));
      return;
    }
    const chosenButton = this.#current.querySelectorAll<HTMLButtonElement>(".choices button");
    if (choices === this.#drawnChoices && chosenButton.length) {
      chosenButton.forEach((one, index) => setChosen(one, index === chosen));
      this.#current.querySelector(".facts")!.textContent = facts;
      return;
    }
    this.#drawnChoices = choices;
    const previews = choices.length > 1 ? choices.map((choice, index) => this.#choice(choice, index, chosen)) : [];
    const group = element("div", { class: "choices", role: "radiogroup", "aria-label": "Three masks" }, previews);
    const finish = button("Finish", { className: "small primary", title: "Enter", icon: "check", onClick: () => this.handlers.finish() });
    this.#current.replaceChildren(
      title,
      ...(previews.length ? [group] : []),
      element("p", { class: "facts" }, [facts]),
      element("div", { class: "row" }, [finish, ...this.#exports()]),
    );
  }

  #choice(choice: Choice, index: number, chosen: number): HTMLButtonElement {
    const { mask, predictedIou } = choice;
    const made = button("", { onClick: () => this.handlers.choose(index) });
    made.setAttribute("role", "radio");
    made.setAttribute("aria-label", `Mask ${index + 1}, predicted IoU ${predictedIou.toFixed(2)}`);
    made.append(this.#thumbnail(mask), element("span", {}, [element("kbd", {}, [String(index + 1)]), ` ${predictedIou.toFixed(2)}`]));
    setChosen(made, index === chosen);
    return made;
  }

  #thumbnail(mask: Shape): HTMLCanvasElement {
    const scale = Math.min(1, 168 / Math.max(mask.width, mask.height));
    const width = Math.max(1, Math.round(mask.width * scale));
    const height = Math.max(1, Math.round(mask.height * scale));
    const canvas = element("canvas", { width: String(width), height: String(height), "aria-hidden": "true" });
    const context = canvas.getContext("2d")!;
    if (this.#picture) context.drawImage(this.#picture, 0, 0, width, height);
    const path = pathOf(mask, scale);
    const outside = new Path2D();
    outside.rect(0, 0, mask.width, mask.height);
    outside.addPath(path);
    context.scale(width / mask.width, height / mask.height);
    context.fillStyle = "rgb(155 155 155 / 45%)";
    context.fill(outside, "evenodd");
    context.fillStyle = cssColor(CURRENT, 0.55);
    context.fill(path);
    return canvas;
  }

  #exports(): HTMLButtonElement[] {
    const kinds: [ExportKind, string, string][] = [
      ["copy", "Copy", "copy the mask as PNG"],
      ["mask", "Mask", "download the mask as PNG"],
      ["cut-out", "Cut-out", "download the object alone as PNG"],
      ["overlay", "Overlay", "download the picture with the mask as PNG"],
      ["json", "JSON", "download the mask as run lengths"],
    ];
    return kinds.map(([kind, word, title]) =>
      button(word, { className: "small", title, onClick: () => this.handlers.export(kind) }),
    );
  }

  #showObjects(objects: readonly ListedObject[]): void {
    const focused = this.#objects.contains(document.activeElement) ? document.activeElement?.getAttribute("data-key") : null;
    const title = element("h2", { id: "objects-title" }, [`Finished (${objects.length})`]);
    const list = element("ul", { class: "objects" }, objects.map((one) => this.#object(one)));
    const all = button("Export all as COCO", { className: "small", onClick: () => this.handlers.exportAll() });
    const empty = element("p", { class: "hint" }, ["Finished objects are listed here."]);
    this.#objects.replaceChildren(title, ...(objects.length ? [list, all] : [empty]));
    if (focused) this.#objects.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
  }

  #object({ id, name, hidden, color }: ListedObject): HTMLLIElement {
    const swatch = element("span", { class: "swatch" });
    swatch.style.backgroundColor = cssColor(color);
    const input = element("input", { value: name, "aria-label": "Name", "data-key": `name-${id}`, spellcheck: "false" });
    input.addEventListener("change", () => this.handlers.rename(id, input.value.trim() || name));
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") input.blur();
    });
    const made = [
      button("", { className: "small icon", icon: hidden ? "closed" : "eye", title: hidden ? `show ${name}` : `hide ${name}`, onClick: () => this.handlers.toggleHidden(id) }),
      button("", { className: "small icon", icon: "edit", title: `reopen ${name}`, onClick: () => this.handlers.reopen(id) }),
      button("", { className: "small icon", icon: "clear", title: `delete ${name}`, onClick: () => this.handlers.remove(id) }),
    ];
    made.forEach((one, index) => one.setAttribute("data-key", `act${index}-${id}`));
    return element("li", { class: hidden ? "hidden-object" : "" }, [swatch, input, ...made]);
  }
}

function setChosen(one: HTMLButtonElement, chosen: boolean): void {
  one.setAttribute("aria-checked", String(chosen));
  one.tabIndex = chosen ? 0 : -1;
}
