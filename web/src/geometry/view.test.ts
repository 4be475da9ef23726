import { describe, expect, it } from "vitest";
import { fit, imageToScreen, pan, screenToImage, visibleRegion, zoomAt, type View } from "./view";

const VIEW: View = { scale: 1.7, x: -40.5, y: 12.25 };
const LIMITS = { min: 0.1, max: 32 };

describe("a view", () => {
  it("goes to the screen and back", () => {
    expect(imageToScreen({ scale: 2, x: 10, y: -5 }, { x: 3, y: 4 })).toEqual({ x: 16, y: 3 });
    const back = screenToImage(VIEW, imageToScreen(VIEW, { x: 12.5, y: 99 }));
    expect(back.x).toBeCloseTo(12.5, 9);
    expect(back.y).toBeCloseTo(99, 9);
  });

  it.each([0.001, 0.5, 1, 1.1, 3, 1000])("zoomed by %f keeps the point under the cursor, within limits", (factor) => {
    for (const place of [{ x: 0, y: 0 }, { x: 333, y: 17.5 }, { x: -20, y: 900 }]) {
      const before = screenToImage(VIEW, place);
      const zoomed = zoomAt(VIEW, factor, place, LIMITS);
      const after = screenToImage(zoomed, place);
      expect(after.x).toBeCloseTo(before.x, 6);
      expect(after.y).toBeCloseTo(before.y, 6);
      expect(zoomed.scale).toBeCloseTo(Math.min(32, Math.max(0.1, 1.7 * factor)), 9);
    }
  });

  it("pans by screen pixels at any scale", () => {
    const moved = pan(VIEW, 17, -34);
    expect(moved.scale).toBe(VIEW.scale);
    expect(screenToImage(moved, { x: 100 + 17, y: 50 - 34 }).x).toBeCloseTo(screenToImage(VIEW, { x: 100, y: 50 }).x, 9);
    expect(screenToImage(moved, { x: 100 + 17, y: 50 - 34 }).y).toBeCloseTo(screenToImage(VIEW, { x: 100, y: 50 }).y, 9);
  });

  it("follows two fingers: both keep their places in the image", () => {
    const [first, second] = [{ x: 100, y: 100 }, { x: 200, y: 150 }];
    const kept = [first, second].map((one) => screenToImage(VIEW, one));
    const moved = [{ x: 90, y: 120 }, { x: 240, y: 195 }];
    // The fingers spread by half as much again, and the middle between them moves.
    const panned = pan(VIEW, 15, 32.5);
    const view = zoomAt(panned, 1.5, { x: 165, y: 157.5 }, LIMITS);
    moved.forEach((place, index) => {
      expect(screenToImage(view, place).x).toBeCloseTo(kept[index]!.x, 9);
      expect(screenToImage(view, place).y).toBeCloseTo(kept[index]!.y, 9);
    });
  });
});

describe("the fitted view", () => {
  it.each([[4000, 3000, 800, 600], [30, 900, 640, 480], [10, 10, 300, 200], [500, 500, 20, 30]])(
    "holds an image %i x %i in the middle of %i x %i",
    (imageWidth, imageHeight, screenWidth, screenHeight) => {
      const image = { width: imageWidth, height: imageHeight };
      const view = fit(image, { width: screenWidth, height: screenHeight }, 16);
      const [first, last] = [imageToScreen(view, { x: 0, y: 0 }), imageToScreen(view, { x: imageWidth, y: imageHeight })];
      expect(first.x).toBeCloseTo(screenWidth - last.x, 6);
      expect(first.y).toBeCloseTo(screenHeight - last.y, 6);
      const [spareX, spareY] = [first.x, first.y];
      if (screenWidth > 32) expect(Math.min(spareX, spareY)).toBeCloseTo(16, 6);
      expect(view.scale).toBeGreaterThan(0);
    },
  );
});

describe("the visible region", () => {
  const image = { width: 100, height: 80 };
  const screen = { width: 200, height: 100 };

  it("is the whole image where all of it is on the screen", () => {
    const view = fit(image, screen, 5);
    expect(visibleRegion(view, image, screen)).toEqual({ x0: 0, y0: 0, x1: 100, y1: 80 });
  });

  it("is whole pixels around what is on the screen", () => {
    const region = visibleRegion({ scale: 4, x: -42, y: -100 }, image, screen);
    expect(region).toEqual({ x0: 10, y0: 25, x1: 61, y1: 50 });
  });

  it("is null where the image is off the screen", () => {
    expect(visibleRegion({ scale: 1, x: 200, y: 0 }, image, screen)).toBeNull();
    expect(visibleRegion({ scale: 1, x: 0, y: -80 }, image, screen)).toBeNull();
  });
});
