/** The left side: the server's images, and a button for one's own. */
import { pixelsUrl, type Image } from "../api/client";
import { button, element, icon } from "./dom";

export interface StripHandlers {
  open(image: Image): void;
  upload(files: Iterable<File>): void;
}

export class Strip {
  readonly #input = element("input", { type: "file", accept: "image/*", multiple: true, hidden: true });

  constructor(
    readonly host: HTMLElement,
    readonly handlers: StripHandlers,
  ) {
    this.#input.addEventListener("change", () => {
      handlers.upload([...(this.#input.files ?? [])]);
      this.#input.value = "";
    });
  }

  show(images: readonly Image[], openId: string | null): void {
    const add = button("Upload", { className: "add", title: "choose a picture, or drop or paste one", onClick: () => this.#input.click() });
    add.prepend(icon("add"));
    this.host.replaceChildren(this.#input, ...images.map((image) => this.#item(image, openId)), add);
  }

  #item(image: Image, openId: string | null): HTMLButtonElement {
    const picture = element("img", { src: pixelsUrl(image.id), alt: "", loading: "lazy", decoding: "async" });
    const item = element("button", { type: "button", title: `${image.name}, ${image.width} × ${image.height}` }, [
      picture,
      element("span", {}, [image.name]),
    ]);
    item.setAttribute("aria-current", String(image.id === openId));
    item.addEventListener("click", () => this.handlers.open(image));
    return item;
  }
}
