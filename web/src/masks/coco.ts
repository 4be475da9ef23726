/** Finished objects as COCO's instances file. */
import { rleOf, type Shape } from "./shape";

export interface CocoInput {
  imageName: string;
  width: number;
  height: number;
  objects: readonly { name: string; mask: Shape }[];
}

/** Every name is a category; boxes are x, y, width, height. */
export function cocoJson({ imageName, width, height, objects }: CocoInput): string {
  const names = [...new Set(objects.map((one) => one.name))];
  const annotations = objects.map(({ name, mask }, index) => {
    const edges = mask.box;
    return {
      id: index + 1,
      image_id: 1,
      category_id: names.indexOf(name) + 1,
      segmentation: rleOf(mask),
      area: mask.area,
      bbox: edges ? [edges.x0, edges.y0, edges.x1 - edges.x0 + 1, edges.y1 - edges.y0 + 1] : [0, 0, 0, 0],
      iscrowd: 0,
    };
  });
  const categories = names.map((name, index) => ({ id: index + 1, name, supercategory: "object" }));
  const images = [{ id: 1, file_name: imageName, width, height }];
  return JSON.stringify({ info: { description: "segloop" }, images, annotations, categories });
}
