/** Embeddings as they travel: one byte a number, with a scale for each channel. */
import type { Frame } from "../geometry/frame";

export interface Unpacked {
  features: Float32Array;
  frame: Frame;
  /** Identity of the model that made it. */
  model: string;
}

interface Header {
  model: string;
  shape: [number, number, number];
  image_hw: [number, number];
  input_size: number;
  logit_size: number;
}

/** Throws RangeError for anything that is not a whole embedding. */
export function unpackEmbedding(content: ArrayBuffer): Unpacked {
  const view = new DataView(content);
  if (content.byteLength < 8 || new TextDecoder().decode(content.slice(0, 4)) !== "SGE1") {
    throw new RangeError("this is not an embedding");
  }
  const headerLength = view.getUint32(4, true);
  if (headerLength % 4 || 8 + headerLength > content.byteLength) throw new RangeError("a damaged embedding");
  const header = readHeader(content.slice(8, 8 + headerLength));
  const [channels, rows, columns] = header.shape;
  const start = 8 + headerLength;
  const plane = rows * columns;
  if (content.byteLength !== start + channels * (4 + plane)) throw new RangeError("an embedding cut short");
  const bytes = new Int8Array(content, start + 4 * channels);
  const features = new Float32Array(channels * plane);
  for (let channel = 0; channel < channels; channel++) {
    const scale = view.getFloat32(start + 4 * channel, true);
    for (let at = channel * plane; at < (channel + 1) * plane; at++) features[at] = bytes[at]! * scale;
  }
  const [imageHeight, imageWidth] = header.image_hw;
  const frame = { imageHeight, imageWidth, inputSize: header.input_size, logitSize: header.logit_size };
  return { features, frame, model: header.model };
}

function readHeader(content: ArrayBuffer): Header {
  let header: Partial<Header> | null;
  try {
    header = JSON.parse(new TextDecoder().decode(content)) as Partial<Header> | null;
  } catch {
    throw new RangeError("an embedding with a damaged header");
  }
  const { model, shape, image_hw: size, input_size: inputSize, logit_size: logitSize } = header ?? {};
  const sizes: unknown[] = [shape?.[0], shape?.[1], shape?.[2], size?.[0], size?.[1], inputSize, logitSize];
  const sound = sizes.every((one) => Number.isInteger(one) && (one as number) > 0);
  if (!sound || typeof model !== "string") throw new RangeError("an embedding with impossible sizes");
  return header as Header;
}
