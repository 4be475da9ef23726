/**
 * What is done with masks pixel by pixel, and with pictures of any size: too long for the page, so its worker does it.
 */
import { logitsToMask, type Frame } from "../geometry/frame";
import { pack, type Packed, type PackRules, type Prompt } from "../prompts/prompt";
import type { LabelledPoint } from "../prompts/prompt";
import { cutOutPng, maskPng, overlayPng, pixelsOf } from "./pictures";
import { decode, type Place, type Rle } from "./rle";
import { rleOf, shapeOf, type Shape } from "./shape";
import { guideOf, sharpen, type Guide } from "./sharpen";
import { tidyMask } from "./tidy";

/** A prompt whose mask is a shape. */
export type ShapePrompt = Omit<Prompt, "mask"> & { mask: Shape | null };

export type PngKind = "mask" | "cut-out" | "overlay";

/** The picture whose edges masks are to follow, told apart by a key, and what says which crumbs colour may leave. */
export interface Edges {
  key: string;
  content: Blob;
  tidies: boolean;
  points: readonly LabelledPoint[];
  isAmbiguous: boolean;
}

/** Of the last picture, or part of one, that edges were asked of. */
let last: { key: string; guide: Promise<Guide> } | null = null;

/** Pictures smaller than this are drawn as they are. */
const SMALL_PX = 1 << 20;

export const jobs = {
  /** Shapes at the image's size of logits whose frame is the image's or, at a place, a part's; with its edges, if given. */
  async upscale(logits: readonly Float32Array[], frame: Frame, place: Place, edges: Edges | null): Promise<Shape[]> {
    const guide = edges && (await guideFor(edges, frame, place));
    return logits.map((one) => {
      const sharp = guide && sharpen(one, guide);
      if (sharp && edges.tidies) tidyMask(sharp, edges.points, edges.isAmbiguous);
      const mask = sharp ?? logitsToMask(one, frame);
      if (!mask) return shapeOf({ width: 0, height: 0, data: new Uint8Array() }, place);
      return shapeOf(mask, { ...place, x0: place.x0 + mask.x0, y0: place.y0 + mask.y0 });
    });
  },

  /** Shapes of masks that come as run lengths. Throws RangeError where they are none. */
  trace(masks: readonly Rle[]): Shape[] {
    return masks.map((one) => shapeOf(decode(one)));
  },

  /** What the decoder takes of a prompt with a mask. */
  pack(prompt: ShapePrompt, frame: Frame, rules: PackRules): Packed {
    return pack({ ...prompt, mask: prompt.mask && decode(rleOf(prompt.mask)) }, frame, rules);
  },

  /** A picture, and smaller ones of it, each half as long as the one before: what is drawn from afar. */
  async halve(content: Blob): Promise<ImageBitmap[]> {
    const levels = [await createImageBitmap(content)];
    for (;;) {
      const { width, height } = levels.at(-1)!;
      if (width * height < SMALL_PX) return levels;
      const size = { resizeWidth: Math.ceil(width / 2), resizeHeight: Math.ceil(height / 2) };
      levels.push(await createImageBitmap(levels.at(-1)!, { ...size, resizeQuality: "medium" }));
    }
  },

  /** A file of the mask, or of the picture with it. */
  png(kind: PngKind, shape: Shape, content: Blob): Promise<Blob> {
    const mask = decode(rleOf(shape));
    if (kind === "mask") return maskPng(mask);
    return kind === "cut-out" ? cutOutPng(mask, content) : overlayPng(mask, content);
  },
};

function guideFor({ key, content }: Edges, frame: Frame, { x0, y0 }: Place): Promise<Guide> {
  if (last?.key !== key) {
    const window = { x0, y0, x1: x0 + frame.imageWidth, y1: y0 + frame.imageHeight };
    const guide = pixelsOf(content, window).then((pixels) => guideOf(pixels, frame));
    guide.catch(() => (last = null)); // the next mask tries again
    last = { key, guide };
  }
  return last.guide;
}

export type Jobs = typeof jobs;
