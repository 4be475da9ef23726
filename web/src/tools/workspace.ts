/**
 * The picture at hand, its embedding and the decoder: what turns marks, and the mouse's place, into masks.
 */
import { getDecoder, getModel, listImages, pixelsUrl, uploadImage, type Image, type Model, type Region } from "../api/client";
import { preview, previewSize } from "../canvas/paint";
import { Pyramid } from "../canvas/pyramid";
import type { Scene } from "../canvas/stage";
import type { Decoder } from "../decoder/decoder";
import { CURRENT } from "../masks/colors";
import { MaskWorker } from "../masks/mask_worker";
import { tidy } from "../masks/tidy";
import { pack } from "../prompts/prompt";
import { NOTHING, type Answer, type CurrentObject } from "../session/session";
import { EmbeddingStore } from "../store/embeddings";
import { promptIn, segmentHere, segmentThere } from "./decoding";
import { Embedder, type Ready } from "./embedder";
import { openDecoder, packRules } from "./segmenter";

const STORE_BYTES = 400 * 2 ** 20;
const PATIENCE = 400;

export class Workspace {
  /** Milliseconds of each decode, previews included. */
  readonly decodeTimes: number[] = [];
  images: Image[] = [];
  image: Image | null = null;
  /** The picture's file as the browser shows it. */
  content: Blob | null = null;
  ready: Ready | null = null;
  decoder: Decoder | null = null;
  readonly worker = new MaskWorker();
  #model!: Model;
  #store: EmbeddingStore | null = null;
  #embedder: Embedder | null = null;
  #whole: Ready | null = null;
  #loading = new AbortController();

  /** notice: shows what is being waited for, null when nothing is any more. */
  constructor(readonly notice: (text: string | null) => void) {}

  /** The model's description, the list of images and the store. */
  async load(): Promise<void> {
    [this.#model, this.images, this.#store] = await Promise.all([
      getModel(),
      listImages(),
      EmbeddingStore.open({ maxBytes: STORE_BYTES }).catch(() => null),
    ]);
  }

  /** Opens the decoder, where the model has a graph, and says how it runs. Embeddings may be asked for meanwhile. */
  async openDecoder(wantsGpu: boolean): Promise<string> {
    const { decoder: graph, name } = this.#model;
    if (!graph) return `${name} · decoding on the server`;
    const opening = getDecoder(graph.url).then((content) => openDecoder(content, this.#model, wantsGpu ? "webgpu" : "wasm"));
    this.#embedder = new Embedder(this.#model, this.#store, opening.then(({ decoder }) => decoder));
    const { decoder, note } = await opening;
    this.decoder?.close();
    this.decoder = decoder;
    return `${name} · ${note}`;
  }

  /** Stops what is being loaded; nothing is decoded until a picture is open. */
  close(): void {
    this.#loading.abort();
    this.ready = this.#whole = null;
  }

  /** Shows a picture as soon as it is there, then prepares its embedding; false where another was opened meanwhile. */
  async open(image: Image, shown: (picture: Pyramid) => void): Promise<boolean> {
    this.close();
    const { signal } = (this.#loading = new AbortController());
    this.image = image;
    try {
      const content = await (await fetch(pixelsUrl(image.id), { signal })).blob();
      const picture = new Pyramid(await this.worker.run("halve", content));
      if (signal.aborted) picture.close();
      signal.throwIfAborted();
      this.content = content;
      shown(picture);
      await this.#embed(image, null, signal);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
  }

  /** Sends a file to the server; the image that it is there. */
  async upload(file: File): Promise<Image> {
    const image = await uploadImage(file, file.name || "pasted.png");
    if (!this.images.some((one) => one.id === image.id)) this.images = [...this.images, image];
    return image;
  }

  /** Decodes in a part of the picture from now on, or in all of it again; false where the latter was so already. */
  async look(region: Region | null): Promise<boolean> {
    if (!this.image || !this.#whole) return false;
    if (region) {
      await this.#embed(this.image, region, this.#loading.signal);
      return true;
    }
    const wasPart = this.ready !== this.#whole;
    this.ready = this.#whole;
    return wasPart;
  }

  async #embed(image: Image, region: Region | null, signal: AbortSignal): Promise<void> {
    if (!this.#embedder) {
      this.ready = this.#there(image, region);
      if (!region) this.#whole = this.ready;
      return;
    }
    const text = region ? "Looking closely…" : "Encoding the picture, once…";
    const waits = setTimeout(() => this.notice(text), PATIENCE);
    try {
      this.ready = await this.#embedder.prepare(image, region, signal);
      if (!region) this.#whole = this.ready;
    } finally {
      clearTimeout(waits);
    }
  }

  /** Where the server decodes, it encodes too, and when asked: nothing is to be brought here. */
  #there({ id, height, width }: Image, region: Region | null): Ready {
    const [x0, y0, x1, y1] = region ?? [0, 0, width, height];
    const { input_size: inputSize, logit_size: logitSize } = this.#model;
    const key = ["there", id, ...(region ?? [])].join("-");
    return { key, frame: { imageHeight: y1 - y0, imageWidth: x1 - x0, inputSize, logitSize }, x0, y0, region };
  }

  /** The masks of an object's marks; null while there is no embedding yet. */
  async answer(current: CurrentObject): Promise<Answer | null> {
    if (!this.image || !this.ready) return null;
    if (!this.#embedder) return segmentThere(this.worker, this.image, this.ready, current);
    if (!this.decoder || !this.content) return null;
    const { decoder, worker, image, content, ready } = this;
    const timed = await segmentHere(decoder, worker, this.#model, image, content, ready, current);
    this.decodeTimes.push(timed.milliseconds);
    return timed.answer;
  }

  /** What a click at a place of the image would take; null where a later place has overtaken it. */
  async preview(point: { x: number; y: number }): Promise<Scene["hover"]> {
    const { decoder, ready } = this;
    const prompt = ready && promptIn(ready, { ...NOTHING, points: [{ ...point, label: 1 }] });
    if (!decoder || !ready || !prompt?.points.length) return null;
    const decoded = await decoder.decodeLatest(ready.key, pack({ ...prompt, mask: null }, ready.frame, packRules(this.#model)), "single");
    if (!decoded) return null;
    this.decodeTimes.push(decoded.milliseconds);
    if (ready !== this.ready) return null;
    if (this.#model.tidies) tidy(decoded.logits, ready.frame, prompt.points, true);
    const picture = preview(decoded.logits, ready.frame, CURRENT);
    return { picture, x: ready.x0, y: ready.y0, ...previewSize(ready.frame) };
  }

  /** Drops a preview that waits. */
  dropPreview(): void {
    this.decoder?.dropLatest();
  }

  async emptyStore(): Promise<void> {
    await this.#store?.clear();
  }
}
