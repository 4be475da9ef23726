/**
 * Mouse, pen and fingers on the canvas, told apart: a click, a dragged box, a pan, a pinch, a hover.
 *
 * Places are in CSS pixels of the canvas.
 */
export interface Place {
  x: number;
  y: number;
}

export interface PointerHandlers {
  hover(place: Place | null): void;
  click(place: Place, negative: boolean): void;
  /** A box is being dragged; done with the last call. */
  drag(from: Place, to: Place, done: boolean): void;
  cancelDrag(): void;
  pan(dx: number, dy: number): void;
  /** Zooms by a factor about a place. */
  zoom(factor: number, about: Place): void;
}

export interface PointerState {
  tool: "point" | "box" | "pan";
  /** Touch has no right button: a switch on the page decides. */
  negative: boolean;
  spaceHeld: boolean;
}

const DRAG_STARTS_PX = 6;

export class PointerInput {
  readonly #down = new Map<number, Place>();
  #start: Place | null = null;
  #kind: "undecided" | "box" | "pan" | "pinch" = "undecided";
  #button = 0;

  constructor(
    readonly canvas: HTMLCanvasElement,
    readonly state: PointerState,
    readonly handlers: PointerHandlers,
  ) {
    canvas.addEventListener("pointerdown", (event) => this.#pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.#pointerMove(event));
    canvas.addEventListener("pointerup", (event) => this.#pointerUp(event, false));
    canvas.addEventListener("pointercancel", (event) => this.#pointerUp(event, true));
    canvas.addEventListener("pointerleave", () => this.handlers.hover(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  #pointerDown(event: PointerEvent): void {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const place = placeOf(event);
    this.#down.set(event.pointerId, place);
    if (this.#down.size > 1) {
      if (this.#kind === "box") this.handlers.cancelDrag();
      this.#kind = "pinch";
      return;
    }
    this.#start = place;
    this.#button = event.button;
    const pans = event.button === 1 || this.state.spaceHeld || this.state.tool === "pan";
    this.#kind = pans ? "pan" : "undecided";
    if (event.button === 1) event.preventDefault();
  }

  #pointerMove(event: PointerEvent): void {
    const place = placeOf(event);
    const before = this.#down.get(event.pointerId);
    if (!before || !this.#start) {
      if (event.pointerType !== "touch") this.handlers.hover(place);
      return;
    }
    if (this.#kind === "pinch") {
      this.#pinch(event.pointerId, before, place);
    } else if (this.#kind === "pan") {
      this.handlers.pan(place.x - before.x, place.y - before.y);
    } else {
      if (distance(place, this.#start) >= DRAG_STARTS_PX && this.#button === 0) this.#kind = "box";
      if (this.#kind === "box") this.handlers.drag(this.#start, place, false);
    }
    this.#down.set(event.pointerId, place);
  }

  #pinch(id: number, before: Place, now: Place): void {
    const other = [...this.#down].find(([one]) => one !== id)?.[1];
    if (!other) return;
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    this.handlers.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.handlers.zoom(distance(now, other) / Math.max(1, distance(before, other)), middle);
  }

  #pointerUp(event: PointerEvent, cancelled: boolean): void {
    if (!this.#down.delete(event.pointerId) || this.#down.size || !this.#start) return;
    const place = placeOf(event);
    const start = this.#start;
    this.#start = null;
    if (this.#kind === "box") {
      if (cancelled) this.handlers.cancelDrag();
      else this.handlers.drag(start, place, true);
    } else if (this.#kind === "undecided" && !cancelled) {
      this.handlers.click(start, this.#button === 2 || event.altKey || this.state.negative);
    }
  }

  #wheel(event: WheelEvent): void {
    event.preventDefault();
    // Lines and pages, as some mice count, are made pixels.
    const pixels = event.deltaY * [1, 16, 200][event.deltaMode]!;
    const strength = event.ctrlKey ? 0.01 : 0.0016;
    this.handlers.zoom(Math.exp(-pixels * strength), placeOf(event));
  }
}

function placeOf(event: MouseEvent): Place {
  return { x: event.offsetX, y: event.offsetY };
}

function distance(one: Place, other: Place): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
