/** What each key does; keys typed into a field are its own. */
import type { Action } from "../ui/toolbar";

export interface KeyHandlers {
  act(action: Action): void;
  choose(output: number): void;
  finish(): void;
  leave(): void;
  takeBack(): void;
  hideAll(): void;
  moveCursor(dx: number, dy: number): void;
  markAtCursor(label: 0 | 1): void;
  boxCorner(): void;
  zoom(factor: number): void;
  /** Space is held while dragging: it pans. */
  holdSpace(held: boolean): void;
}

const ACTIONS: Record<string, Action> = {
  p: "point", b: "box", v: "pan", e: "everything", r: "refine", "?": "help", "0": "fit",
};
const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

export function listenToKeys(canvas: HTMLCanvasElement, handlers: KeyHandlers): void {
  window.addEventListener("keydown", (event) => {
    const target = event.target instanceof HTMLElement ? event.target : document.body;
    if (target.closest("input, textarea, select, dialog") || event.metaKey) return;
    // Buttons keep Enter, Space and arrows; the picture takes them when it has the focus, or nothing has.
    const onPicture = target === canvas || target === document.body;
    if (handle(event, onPicture, handlers)) event.preventDefault();
  });
  window.addEventListener("keyup", (event) => {
    if (event.key === " ") handlers.holdSpace(false);
  });
  window.addEventListener("blur", () => handlers.holdSpace(false));
}

function handle(event: KeyboardEvent, onPicture: boolean, handlers: KeyHandlers): boolean {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey && key !== "z" && key !== "y") return false;
  if (key === "z" || key === "y") handlers.act(event.shiftKey || key === "y" ? "redo" : "undo");
  else if (key === "1" || key === "2" || key === "3") handlers.choose(Number(key) - 1);
  else if (key === "Escape") handlers.leave();
  else if (key === "Backspace" || key === "Delete") handlers.takeBack();
  else if (key === "h") handlers.hideAll();
  else if (key === "+" || key === "=") handlers.zoom(1.3);
  else if (key === "-" || key === "−") handlers.zoom(1 / 1.3);
  else if (ACTIONS[key]) handlers.act(ACTIONS[key]);
  else if (onPicture) return handleOnPicture(event, key, handlers);
  else return false;
  return true;
}

function handleOnPicture(event: KeyboardEvent, key: string, handlers: KeyHandlers): boolean {
  const arrow = ARROWS[key];
  if (arrow) {
    const length = event.shiftKey ? 40 : 4;
    handlers.moveCursor(arrow[0] * length, arrow[1] * length);
  } else if (key === "Enter") handlers.finish();
  else if (key === "n") handlers.markAtCursor(0);
  else if (key === "x") handlers.boxCorner();
  else if (key === " ") {
    handlers.holdSpace(true);
    if (!event.repeat) handlers.markAtCursor(1);
  } else return false;
  return true;
}
