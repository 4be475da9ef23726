import { describe, expect, it } from "vitest";
import { cocoJson } from "./coco";
import { decode, type Rle } from "./rle";
import { rleOf, shapeOf, type Shape } from "./shape";

interface Coco {
  images: { id: number; file_name: string; width: number; height: number }[];
  categories: { id: number; name: string }[];
  annotations: {
    id: number;
    image_id: number;
    category_id: number;
    segmentation: Rle;
    area: number;
    bbox: number[];
    iscrowd: number;
  }[];
}

function maskOf(...rows: string[]): Shape {
  return shapeOf({ width: rows[0]!.length, height: rows.length, data: Uint8Array.from(rows.join(""), Number) });
}

const CUP = maskOf("00000", "00110", "00111");
const SPOON = maskOf("10000", "10000", "00000");
const OBJECTS = [{ name: "cup", mask: CUP }, { name: "spoon \"é\"", mask: SPOON }, { name: "cup", mask: SPOON }];

function written(objects = OBJECTS): Coco {
  return JSON.parse(cocoJson({ imageName: "table.jpg", width: 5, height: 3, objects })) as Coco;
}

describe("COCO's instances file", () => {
  it("names the image and every category once", () => {
    const { images, categories } = written();
    expect(images).toEqual([{ id: 1, file_name: "table.jpg", width: 5, height: 3 }]);
    expect(categories).toMatchObject([{ id: 1, name: "cup" }, { id: 2, name: "spoon \"é\"" }]);
  });

  it("refers only to ids that are there, each annotation with its own", () => {
    const { images, categories, annotations } = written();
    expect(annotations.map((one) => one.id)).toEqual([1, 2, 3]);
    expect(annotations.map((one) => one.category_id)).toEqual([1, 2, 1]);
    for (const one of annotations) {
      expect(images.map((image) => image.id)).toContain(one.image_id);
      expect(categories.map((category) => category.id)).toContain(one.category_id);
      expect(one.iscrowd).toBe(0);
    }
  });

  it("has boxes as x, y, width, height, areas in pixels and masks that decode", () => {
    const { annotations } = written();
    expect(annotations.map((one) => one.bbox)).toEqual([[2, 1, 3, 2], [0, 0, 1, 2], [0, 0, 1, 2]]);
    expect(annotations.map((one) => one.area)).toEqual([5, 2, 2]);
    expect(annotations.map((one) => one.segmentation.size)).toEqual([[3, 5], [3, 5], [3, 5]]);
    expect(annotations.map((one) => one.segmentation)).toEqual([CUP, SPOON, SPOON].map(rleOf));
    expect(decode(annotations[1]!.segmentation).data.indexOf(1)).toBe(0);
  });

  it("is a file without annotations where nothing is finished", () => {
    expect(written([])).toMatchObject({ images: [{ id: 1 }], annotations: [], categories: [] });
  });

  it("has an empty box for an empty mask", () => {
    const [one] = written([{ name: "none", mask: maskOf("00000", "00000", "00000") }]).annotations;
    expect(one).toMatchObject({ area: 0, bbox: [0, 0, 0, 0] });
  });
});
