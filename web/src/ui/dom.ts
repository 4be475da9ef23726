/** Making elements: attributes, listeners and children in one call, and the page's icons. */

type Child = Node | string | null;

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string | boolean> = {},
  children: Child[] = [],
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The element that index.html promises. */
export function part<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Strokes on a 24 x 24 grid. */
const ICONS = {
  point: "M12 3v5M12 16v5M3 12h5M16 12h5M12 12h.01",
  box: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4",
  pan: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3",
  everything: "M4 4h7v7H4zM13 4h7v4h-7zM13 11h7v9h-7zM4 14h6v6H4z",
  undo: "M9 14l-5-5 5-5M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "M15 14l5-5-5-5M20 9H10a6 6 0 0 0 0 12h3",
  clear: "M5 7h14M10 11v6M14 11v6M7 7l1 13h8l1-13M9 7V4h6v3",
  refine: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM20 20l-4.8-4.8M10.5 8v5M8 10.5h5",
  negative: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM8 12h8",
  help: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM9.5 9.5a2.5 2.5 0 1 1 3.4 2.3c-.6.3-.9.8-.9 1.4v.3M12 16.8h.01",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5M9 9h6v6H9z",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  closed: "M4 4l16 16M9.5 6A9 9 0 0 1 12 5.500c6 0 9.500 6.500 9.500 6.500a16 16 0 0 1-3 3.600M6 7.700A15 15 0 0 0 2.500 12S6 18.500 12 18.500c1.500 0 2.900-.4 4.100-1",
  edit: "M4 20l1-4L16 5l3 3L8 19l-4 1zM14 7l3 3",
  add: "M12 5v14M5 12h14",
  check: "M5 12.500l4.500 4.500L19 7.500",
  close: "M6 6l12 12M18 6L6 18",
} as const;

export type IconName = keyof typeof ICONS;

export function icon(name: IconName): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

interface ButtonOptions {
  icon?: IconName;
  /** What it does, for a tooltip and for those who hear the page. */
  title?: string;
  className?: string;
  onClick: () => void;
}

export function button(word: string, options: ButtonOptions): HTMLButtonElement {
  const attributes: Record<string, string> = { type: "button" };
  if (options.className) attributes["class"] = options.className;
  const title = options.title ?? "";
  if (title) Object.assign(attributes, { title, "aria-label": word ? `${word}: ${title}` : title });
  const label = word ? element("span", { class: "word" }, [word]) : null;
  const made = element("button", attributes, [label]);
  if (options.icon) made.prepend(icon(options.icon));
  made.addEventListener("click", options.onClick);
  return made;
}
