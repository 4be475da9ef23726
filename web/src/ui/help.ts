/** The sheet of keys and gestures. */
import { button, element } from "./dom";

const KEYS: [string[], string][] = [
  [["click"], "mark the object; hold nothing, just point to preview"],
  [["right click", "Alt+click"], "mark what is not the object"],
  [["drag"], "draw a box around the object"],
  [["1", "2", "3"], "choose among the three masks"],
  [["Enter"], "finish the object"],
  [["Esc"], "clear the object, or leave everything"],
  [["Backspace"], "take the last mark back"],
  [["Z", "Shift+Z"], "undo, redo"],
  [["P", "B", "V"], "point, box, pan"],
  [["E"], "everything in the picture"],
  [["R"], "refine here: look closely at what is in view"],
  [["H"], "hide or show the finished objects"],
  [["arrows"], "move the keyboard cursor; with Shift, ten times as far"],
  [["Space"], "mark the object at the cursor"],
  [["N"], "mark what is not the object at the cursor"],
  [["X"], "begin a box at the cursor, end it there"],
  [["+", "−", "0"], "zoom in, out, fit"],
  [["wheel", "pinch"], "zoom about the mouse or the fingers"],
  [["Space+drag", "two fingers"], "move the picture"],
  [["?"], "this sheet"],
];

export function buildHelp(dialog: HTMLDialogElement): void {
  const rows = KEYS.flatMap(([keys, meaning]) => [
    element("dt", {}, keys.flatMap((key, index) => [index ? " " : null, element("kbd", {}, [key])])),
    element("dd", {}, [meaning]),
  ]);
  const close = button("Close", { className: "primary", onClick: () => dialog.close() });
  dialog.replaceChildren(
    element("h2", { id: "help-title", tabindex: "-1", autofocus: true }, ["Keys and gestures"]),
    element("dl", {}, rows),
    close,
  );
}
