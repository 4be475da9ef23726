import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { unpackEmbedding } from "./wire";

interface Vectors {
  embeddings: {
    model: string;
    image_hw: [number, number];
    input_size: number;
    logit_size: number;
    unpacked: number[];
    packed_hex: string;
  }[];
}

const vectors = JSON.parse(
  readFileSync(resolve(import.meta.dirname, "../../../tests/vectors/embedding.json"), "utf8"),
) as Vectors;

function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

function packed(index = 0): ArrayBuffer {
  return bufferOf(Buffer.from(vectors.embeddings[index]!.packed_hex, "hex"));
}

/** An embedding with this header and so many bytes after it. */
function withHeader(header: string, numBytes: number): ArrayBuffer {
  const text = new TextEncoder().encode(header + " ".repeat((4 - (header.length % 4)) % 4));
  const content = new Uint8Array(8 + text.length + numBytes);
  content.set(new TextEncoder().encode("SGE1"));
  new DataView(content.buffer).setUint32(4, text.length, true);
  content.set(text, 8);
  return content.buffer;
}

describe("the shared vectors of embeddings", () => {
  it.each(vectors.embeddings.map((one, index) => [index, one] as const))("number %i", (index, one) => {
    const { features, frame, model } = unpackEmbedding(packed(index));
    expect(features).toEqual(Float32Array.from(one.unpacked));
    const [imageHeight, imageWidth] = one.image_hw;
    expect(frame).toEqual({ imageHeight, imageWidth, inputSize: one.input_size, logitSize: one.logit_size });
    expect(model).toBe(one.model);
  });
});

describe("what is not a whole embedding", () => {
  it("throws at whatever length it is cut", () => {
    const whole = packed();
    for (let length = 0; length < whole.byteLength; length++) {
      expect(() => unpackEmbedding(whole.slice(0, length)), `${length} bytes`).toThrow(RangeError);
    }
    expect(() => unpackEmbedding(bufferOf(new Uint8Array([...new Uint8Array(whole), 0])))).toThrow("cut short");
  });

  it("throws for another beginning", () => {
    expect(() => unpackEmbedding(bufferOf(new TextEncoder().encode("<!doctype html><p>no")))).toThrow("not an embedding");
  });

  it("throws for a header longer than the content", () => {
    const content = packed();
    new DataView(content).setUint32(4, 0xfffffffc, true);
    expect(() => unpackEmbedding(content)).toThrow(RangeError);
  });

  const good = { model: "m", shape: [1, 1, 1], image_hw: [3, 5], input_size: 8, logit_size: 4 };

  it("is not a good header with its bytes", () => {
    expect(unpackEmbedding(withHeader(JSON.stringify(good), 5)).features).toEqual(new Float32Array(1));
  });

  it.each<[string, unknown]>([
    ["null", null],
    ["a list", []],
    ["a number", 5],
    ["no shape", { ...good, shape: undefined }],
    ["a short shape", { ...good, shape: [1, 1] }],
    ["a shape of words", { ...good, shape: ["1", "1", "1"] }],
    ["a negative shape", { ...good, shape: [1, -1, -1] }],
    ["a broken shape", { ...good, shape: [0.5, 1, 6] }],
    ["no size of the image", { ...good, image_hw: null }],
    ["an empty image", { ...good, image_hw: [0, 5] }],
    ["no input size", { ...good, input_size: undefined }],
    ["a logit size of nothing", { ...good, logit_size: 0 }],
    ["no model", { ...good, model: 7 }],
  ])("throws for a header with %s", (_, header) => {
    expect(() => unpackEmbedding(withHeader(JSON.stringify(header), 5))).toThrow(RangeError);
  });

  it("throws for a header that is not JSON", () => {
    expect(() => unpackEmbedding(withHeader("{model: m}", 5))).toThrow("damaged header");
  });
});
