/** The tools above the picture. */
import { button, element, type IconName } from "./dom";

export type Action =
  | "point" | "box" | "pan" | "negative" | "everything" | "refine"
  | "undo" | "redo" | "clear" | "fit" | "help";

const GROUPS: [Action, string, IconName, string][][] = [
  [
    ["point", "Point", "point", "mark by clicks (P)"],
    ["box", "Box", "box", "draw a box (B)"],
    ["pan", "Pan", "pan", "move the picture (V, or hold Space)"],
  ],
  [
    ["negative", "Exclude", "negative", "clicks mark what is not the object"],
  ],
  [
    ["everything", "Everything", "everything", "find all there is (E)"],
    ["refine", "Refine here", "refine", "look closely at what is in view (R)"],
  ],
  [
    ["undo", "", "undo", "Undo (Z)"],
    ["redo", "", "redo", "Redo (Shift+Z)"],
    ["clear", "", "clear", "Clear the object (Esc)"],
    ["fit", "", "fit", "Fit the picture (0)"],
    ["help", "", "help", "Keys and gestures (?)"],
  ],
];
const SWITCHES: readonly Action[] = ["point", "box", "pan", "negative", "everything", "refine"];

export class Toolbar {
  readonly #buttons = new Map<Action, HTMLButtonElement>();

  constructor(host: HTMLElement, onAction: (action: Action) => void) {
    GROUPS.forEach((group, index) => {
      if (index) host.append(element("span", { class: "separator", "aria-hidden": "true" }));
      for (const [action, word, picture, title] of group) {
        const className = word ? "tool" : "icon";
        const made = button(word, { className, icon: picture, title, onClick: () => onAction(action) });
        made.dataset["action"] = action;
        this.#buttons.set(action, made);
        host.append(made);
      }
    });
  }

  show(pressed: ReadonlySet<Action>, disabled: ReadonlySet<Action>): void {
    for (const [action, made] of this.#buttons) {
      if (SWITCHES.includes(action)) made.setAttribute("aria-pressed", String(pressed.has(action)));
      made.disabled = disabled.has(action);
    }
  }
}
