/** Moves the stage's view over the picture; until someone does, the picture fits the stage, whatever its size. */
import { fit, pan, zoomAt } from "../geometry/view";
import type { Place } from "./pointer";
import type { Stage } from "./stage";

const MOST_ZOOM = 64;

export class Viewport {
  #fitted = true;

  constructor(
    readonly stage: () => Stage,
    readonly picture: () => { width: number; height: number } | null,
  ) {}

  fit(): void {
    const picture = this.picture();
    const stage = this.stage();
    if (picture) stage.view = fit(picture, stage);
    this.#fitted = true;
    stage.redraw();
  }

  resized(): void {
    if (this.#fitted) this.fit();
  }

  pan(dx: number, dy: number): void {
    const stage = this.stage();
    stage.view = pan(stage.view, dx, dy);
    this.#fitted = false;
    stage.redraw();
  }

  /** About a place of the stage, its middle by default. */
  zoom(factor: number, about?: Place): void {
    const picture = this.picture();
    const stage = this.stage();
    if (!picture) return;
    const whole = fit(picture, stage).scale;
    const limits = { min: Math.min(whole, 1) / 2, max: MOST_ZOOM };
    stage.view = zoomAt(stage.view, factor, about ?? { x: stage.width / 2, y: stage.height / 2 }, limits);
    this.#fitted = false;
    stage.redraw();
  }
}
