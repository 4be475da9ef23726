/** A picture at several sizes, each half as long as the one before: from afar a small one is drawn, which is quick and smooth. */
export class Pyramid {
  /** The largest first. */
  constructor(readonly levels: readonly ImageBitmap[]) {}

  get smallest(): ImageBitmap {
    return this.levels.at(-1)!;
  }

  /** Draws it at the size of the largest, for a screen that shows a pixel of that at `scale` of its own. */
  draw(context: CanvasRenderingContext2D, scale: number): void {
    const { width, height } = this.levels[0]!;
    const level = Math.min(this.levels.length - 1, Math.max(0, Math.floor(-Math.log2(scale))));
    context.imageSmoothingEnabled = scale < 4;
    context.imageSmoothingQuality = "low"; // between two sizes that are near, bilinear is smooth
    context.drawImage(this.levels[level]!, 0, 0, width, height);
  }

  close(): void {
    for (const level of this.levels) level.close();
  }
}
