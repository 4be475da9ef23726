/**
 * Puts the parts together: the picture and its view, the session's marks, the decoder, and what the page shows of them.
 */
import { getDecoder, getModel, listImages, pixelsUrl, uploadImage, type Image, type Model, type Region } from "./api/client";
import { objectColor, preview, previewSize } from "./canvas/paint";
import { PointerInput, type Place, type PointerState } from "./canvas/pointer";
import { EMPTY_SCENE, Stage, type Scene } from "./canvas/stage";
import type { Decoder } from "./decoder/decoder";
import { fit, pan, screenToImage, visibleRegion, zoomAt } from "./geometry/view";
import { area, type Box, type Mask } from "./masks/mask";
import { cocoJson } from "./masks/coco";
import { pack } from "./prompts/prompt";
import * as work from "./session/session";
import { EmbeddingStore } from "./store/embeddings";
import { promptIn, segmentHere, segmentThere } from "./tools/decoding";
import { Embedder, type Ready } from "./tools/embedder";
import { EverythingTool } from "./tools/everything_tool";
import { download, exportMask } from "./tools/exports";
import { listenToFiles } from "./tools/files";
import { listenToKeys } from "./tools/keys";
import { openDecoder, packRules } from "./tools/segmenter";
import { part } from "./ui/dom";
import { buildHelp } from "./ui/help";
import { Panel, type ExportKind } from "./ui/panel";
import { Strip } from "./ui/strip";
import { Toolbar, type Action } from "./ui/toolbar";

const STORE_BYTES = 400 * 2 ** 20;
const GPU_KEY = "segloop-webgpu";
const MOST_ZOOM = 64;
const HOVER: readonly [number, number, number] = [99, 91, 255];

export class App {
  readonly decodeTimes: number[] = [];
  readonly #stage = new Stage(part<HTMLCanvasElement>("canvas"), () => this.#resized());
  readonly #pointerState: PointerState = { tool: "point", negative: false, spaceHeld: false };
  readonly #toolbar = new Toolbar(part("toolbar"), (action) => this.act(action));
  readonly #strip = new Strip(part("images"), {
    open: (image) => void this.open(image),
    upload: (files) => void this.upload(files),
  });
  readonly #panel: Panel;
  readonly #everything: EverythingTool;
  readonly #sessions = new Map<string, work.Session>();
  #model!: Model;
  #decoder: Decoder | null = null;
  #store: EmbeddingStore | null = null;
  #embedder: Embedder | null = null;
  #images: Image[] = [];
  #image: Image | null = null;
  #picture: ImageBitmap | null = null;
  #session = work.newSession("");
  #ready: Ready | null = null;
  #whole: Ready | null = null;
  #loading = new AbortController();
  #decoding: Promise<void> = Promise.resolve();
  #scene: Scene = EMPTY_SCENE;
  #hoverPlace: Place | null = null;
  #corner: Place | null = null;
  #allHidden = false;
  #fitted = true;

  constructor() {
    this.#panel = new Panel(part("panel"), this.#panelHandlers(), localStorage.getItem(GPU_KEY) === "1");
    this.#everything = new EverythingTool(part("everything"), {
      changed: () => this.#show(),
      take: (mask, predictedIou) => this.#change(work.finish(work.setMask(this.#session, mask, predictedIou))),
      failed: (error) => this.#fail(error),
      say: (text) => this.#say(text),
    });
    new PointerInput(this.#stage.canvas, this.#pointerState, this.#pointerHandlers());
    this.#listenToKeys();
    listenToFiles((files) => void this.upload(files));
    buildHelp(part<HTMLDialogElement>("help"));
    this.#show();
  }

  /** Resolves when the first picture can be clicked. */
  async start(): Promise<void> {
    this.#say("Loading the model…");
    [this.#model, this.#images, this.#store] = await Promise.all([
      getModel(),
      listImages(),
      EmbeddingStore.open({ maxBytes: STORE_BYTES }).catch(() => null),
    ]);
    const decoderReady = this.#openDecoder(localStorage.getItem(GPU_KEY) === "1");
    const asked = location.hash.slice(1);
    const first = this.#images.find((image) => image.id === asked) ?? this.#images[0];
    this.#strip.show(this.#images, first?.id ?? null);
    await decoderReady;
    if (first) await this.open(first);
    else this.#say("Upload, drop or paste a picture to begin.");
  }

  async #openDecoder(wantsGpu: boolean): Promise<void> {
    const badge = part("badge");
    const { decoder: graph, name } = this.#model;
    let note = "decoding on the server";
    if (graph) {
      const opened = await openDecoder(await getDecoder(graph.url), this.#model, wantsGpu ? "webgpu" : "wasm");
      this.#decoder?.close();
      this.#decoder = opened.decoder;
      this.#embedder = new Embedder(this.#model, this.#store, opened.decoder);
      note = opened.note;
    }
    badge.textContent = `${name} · ${note}`;
    badge.hidden = false;
  }

  async open(image: Image): Promise<void> {
    this.#keepSession();
    this.#loading.abort();
    const loading = (this.#loading = new AbortController());
    this.#image = image;
    this.#session = this.#sessions.get(image.id) ?? work.newSession(image.id);
    this.#ready = this.#whole = this.#corner = null;
    this.#scene = EMPTY_SCENE;
    this.#everything.close();
    history.replaceState(null, "", `#${image.id}`);
    this.#strip.show(this.#images, image.id);
    this.#notice(`Opening ${image.name}…`);
    try {
      const content = await (await fetch(pixelsUrl(image.id), { signal: loading.signal })).blob();
      const picture = await createImageBitmap(content);
      loading.signal.throwIfAborted();
      this.#picture = picture;
      this.#stage.setPicture(picture);
      this.#panel.setPicture(picture);
      this.#fit();
      this.#show();
      await this.#embed(null, loading.signal);
      this.#notice(null);
      this.#say(`${image.name} is ready. Point at something.`);
    } catch (error) {
      if (!loading.signal.aborted) this.#fail(error);
    }
  }

  async #embed(region: Region | null, signal: AbortSignal): Promise<void> {
    if (!this.#embedder || !this.#image) return;
    const waits = setTimeout(() => this.#notice(region ? "Looking closely…" : "Encoding the picture, once…"), 400);
    try {
      this.#ready = await this.#embedder.prepare(this.#image, region, signal);
      if (!region) this.#whole = this.#ready;
    } finally {
      clearTimeout(waits);
    }
    this.#show();
  }

  async upload(files: Iterable<File>): Promise<void> {
    for (const file of files) {
      try {
        this.#notice(`Sending ${file.name}…`);
        const image = await uploadImage(file, file.name || "pasted.png");
        if (!this.#images.some((one) => one.id === image.id)) this.#images = [...this.#images, image];
        await this.open(image);
      } catch (error) {
        this.#fail(error);
      }
    }
  }

  // What the user does

  act(action: Action): void {
    const state = this.#pointerState;
    if (action === "point" || action === "box" || action === "pan") state.tool = action;
    else if (action === "negative") state.negative = !state.negative;
    else if (action === "undo") this.#change(work.undo(this.#session));
    else if (action === "redo") this.#change(work.redo(this.#session));
    else if (action === "clear") this.#leave();
    else if (action === "fit") this.#fit();
    else if (action === "help") part<HTMLDialogElement>("help").showModal();
    else if (action === "everything") this.#toggleEverything();
    else void this.#refine();
    this.#stage.canvas.dataset["tool"] = state.tool;
    this.#show();
  }

  #toggleEverything(): void {
    if (this.#everything.isOpen) this.#everything.close();
    else if (this.#image) void this.#everything.open(this.#image.id);
  }

  /** Encodes what is in view and decodes there; once more goes back to the whole picture. */
  async #refine(): Promise<void> {
    if (!this.#image || !this.#whole) return;
    const seen = visibleRegion(this.#stage.view, this.#image, this.#stage);
    const isPart = seen && (seen.x1 - seen.x0 < this.#image.width || seen.y1 - seen.y0 < this.#image.height);
    if (this.#ready?.region || !isPart) {
      this.#ready = this.#whole;
      this.#say(isPart ? "Back to the whole picture." : "Zoom in first, then refine.");
      this.#show();
      return;
    }
    const key = this.#session.current;
    try {
      await this.#embed([seen.x0, seen.y0, seen.x1, seen.y1], this.#loading.signal);
      this.#notice(null);
      this.#say("Looking closely at what is in view.");
      if (key === this.#session.current && !work.isEmpty(key)) this.#decodeCurrent();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Marks the pixel at a place of the image. */
  addPoint(placeX: number, placeY: number, label: 0 | 1): void {
    const [x, y] = [Math.floor(placeX), Math.floor(placeY)];
    if (!this.#image || x < 0 || y < 0 || x >= this.#image.width || y >= this.#image.height) return;
    if (this.#everything.isOpen) this.#everything.takeAt(x, y);
    else this.#change(work.addPoint(this.#session, { x, y, label }), true);
  }

  setBox(box: Box): void {
    const { width, height } = this.#image!;
    const inside = { x0: Math.max(0, box.x0), y0: Math.max(0, box.y0), x1: Math.min(width, box.x1), y1: Math.min(height, box.y1) };
    if (inside.x1 - inside.x0 >= 1 && inside.y1 - inside.y0 >= 1) this.#change(work.setBox(this.#session, inside), true);
  }

  #leave(): void {
    this.#corner = null;
    if (this.#everything.isOpen) this.#everything.close();
    else this.#change(work.clear(this.#session));
  }

  #change(session: work.Session, decodes = false): void {
    this.#session = session;
    this.#scene = { ...this.#scene, hover: null };
    this.#decoder?.dropLatest();
    if (decodes || (!session.current.answer && !work.isEmpty(session.current))) this.#decodeCurrent();
    this.#show();
  }

  #decodeCurrent(): void {
    const { current } = this.#session;
    this.#decoding = this.#decode(current).catch((error: unknown) => this.#fail(error));
  }

  async #decode(current: work.CurrentObject): Promise<void> {
    const [image, ready] = [this.#image, this.#ready];
    if (!image) return;
    let answer: work.Answer;
    if (this.#decoder && ready) {
      const timed = await segmentHere(this.#decoder, this.#model, image, ready, current);
      this.decodeTimes.push(timed.milliseconds);
      answer = timed.answer;
    } else if (!this.#decoder) answer = await segmentThere(image, current);
    else return;
    if (current !== this.#session.current) return; // a later mark has overtaken it
    this.#session = work.acceptLogits(this.#session, answer);
    this.#say(this.#facts());
    this.#show();
  }

  #hover(place: Place | null): void {
    this.#hoverPlace = place;
    const [decoder, ready, image] = [this.#decoder, this.#ready, this.#image];
    const isIdle = work.isEmpty(this.#session.current) && !this.#everything.isOpen && this.#pointerState.tool === "point";
    const point = place && screenToImage(this.#stage.view, place);
    const inside = point && image && point.x >= 0 && point.y >= 0 && point.x < image.width && point.y < image.height;
    if (!decoder || !ready || !isIdle || !inside) {
      decoder?.dropLatest();
      if (this.#scene.hover) this.#setScene({ hover: null });
      return;
    }
    const prompt = promptIn(ready, { ...work.NOTHING, points: [{ x: Math.floor(point.x), y: Math.floor(point.y), label: 1 }] });
    if (!prompt.points.length) return;
    void decoder
      .decodeLatest(ready.key, pack(prompt, ready.frame, packRules(this.#model)), "single")
      .then((decoded) => {
        if (!decoded) return;
        this.decodeTimes.push(decoded.milliseconds);
        if (!this.#hoverPlace || ready !== this.#ready || !work.isEmpty(this.#session.current)) return;
        const picture = preview(decoded.logits, ready.frame, HOVER);
        this.#setScene({ hover: { picture, x: ready.x0, y: ready.y0, ...previewSize(ready.frame) } });
      })
      .catch(() => undefined); // a preview that fails is no news; the click will tell
  }

  // What the page shows

  #show(): void {
    const { current, objects, past, future } = this.#session;
    const shown = objects.flatMap((one) =>
      one.hidden || this.#allHidden ? [] : [{ mask: one.mask, color: objectColor(one.id), strong: true }],
    );
    const region = this.#ready?.region ?? null;
    this.#setScene({
      layers: [...this.#everything.layers(), ...shown],
      current: this.currentMask(),
      points: current.points,
      box: current.box,
      region,
    });
    this.#panel.show({
      choices: this.#choices(current.answer),
      chosen: current.chosen,
      facts: this.#facts(),
      objects: objects.map(({ id, name, hidden }) => ({ id, name, hidden, color: objectColor(id) })),
    });
    const { tool, negative } = this.#pointerState;
    const pressed = new Set<Action>([tool]);
    if (negative) pressed.add("negative");
    if (this.#everything.isOpen) pressed.add("everything");
    if (region) pressed.add("refine");
    const disabled = new Set<Action>();
    if (!past.length) disabled.add("undo");
    if (!future.length) disabled.add("redo");
    if (!this.#image) (["everything", "refine", "fit", "clear"] as const).forEach((one) => disabled.add(one));
    this.#toolbar.show(pressed, disabled);
  }

  readonly #choicesOf = new WeakMap<work.Answer, { mask: Mask; predictedIou: number }[]>();

  #choices(answer: work.Answer | null): { mask: Mask; predictedIou: number }[] {
    if (!answer) return [];
    const known = this.#choicesOf.get(answer);
    const made = known ?? answer.masks.map((mask, index) => ({ mask, predictedIou: answer.predictedIou[index]! }));
    this.#choicesOf.set(answer, made);
    return made;
  }

  #facts(): string {
    const mask = this.currentMask();
    if (!mask) return "";
    const percent = (100 * area(mask)) / mask.data.length;
    const { answer, chosen } = this.#session.current;
    return `Mask of ${percent.toFixed(percent < 10 ? 1 : 0)}% of the image, predicted IoU ${answer!.predictedIou[chosen]!.toFixed(2)}`;
  }

  #setScene(change: Partial<Scene>): void {
    this.#scene = { ...this.#scene, ...change };
    this.#stage.setScene(this.#scene);
  }

  #say(text: string): void {
    part("status").textContent = text;
  }

  #notice(text: string | null, isError = false): void {
    const notice = part("notice");
    notice.textContent = text ?? "";
    notice.hidden = !text;
    notice.classList.toggle("error", isError);
  }

  report(error: unknown): void {
    this.#fail(error);
  }

  #fail(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.#notice(text, true);
    this.#say(text);
  }

  #fit(): void {
    if (this.#image) this.#stage.view = fit(this.#image, this.#stage);
    this.#fitted = true;
    this.#stage.redraw();
  }

  #resized(): void {
    if (this.#fitted) this.#fit();
  }

  #zoom(factor: number, about: Place): void {
    if (!this.#image) return;
    const whole = fit(this.#image, this.#stage).scale;
    this.#stage.view = zoomAt(this.#stage.view, factor, about, { min: Math.min(whole, 1) / 2, max: MOST_ZOOM });
    this.#fitted = false;
    this.#stage.redraw();
  }

  #keepSession(): void {
    if (this.#image) this.#sessions.set(this.#image.id, this.#session);
  }

  // Where its doings come from

  #pointerHandlers(): ConstructorParameters<typeof PointerInput>[2] {
    const toImage = (place: Place): Place => screenToImage(this.#stage.view, place);
    return {
      hover: (place) => this.#hover(place),
      click: (place, negative) => {
        const { x, y } = toImage(place);
        this.#setScene({ cursor: null });
        this.addPoint(x, y, negative ? 0 : 1);
      },
      drag: (from, to, done) => {
        const box = boxOf(toImage(from), toImage(to));
        this.#setScene({ dragged: done ? null : box, hover: null });
        if (done && this.#image) this.setBox(box);
      },
      cancelDrag: () => this.#setScene({ dragged: null }),
      pan: (dx, dy) => {
        this.#stage.view = pan(this.#stage.view, dx, dy);
        this.#fitted = false;
        this.#stage.redraw();
      },
      zoom: (factor, about) => this.#zoom(factor, about),
    };
  }

  #panelHandlers(): ConstructorParameters<typeof Panel>[1] {
    return {
      choose: (output) => this.choose(output),
      finish: () => this.finish(),
      export: (kind) => void this.#export(kind),
      exportAll: () => this.#exportAll(),
      rename: (id, name) => this.#change(work.rename(this.#session, id, name)),
      toggleHidden: (id) => this.#change(work.toggleHidden(this.#session, id)),
      reopen: (id) => this.#change(work.reopen(this.#session, id)),
      remove: (id) => this.#change(work.remove(this.#session, id)),
      wantGpu: (wanted) => {
        localStorage.setItem(GPU_KEY, wanted ? "1" : "0");
        void this.#openDecoder(wanted)
          .then(() => this.#image && this.open(this.#image))
          .catch((error: unknown) => this.#fail(error));
      },
      emptyStore: () => void this.#store?.clear().then(() => this.#say("No embeddings are kept any more.")),
    };
  }

  choose(output: number): void {
    this.#change(work.choose(this.#session, output));
    this.#say(this.#facts());
  }

  finish(): void {
    if (!this.currentMask()) return;
    this.#change(work.finish(this.#session));
    this.#say(`${this.#session.objects.at(-1)!.name} finished.`);
  }

  async #export(kind: ExportKind): Promise<void> {
    const mask = this.currentMask();
    if (!mask || !this.#picture || !this.#image) return;
    const { answer, chosen } = this.#session.current;
    try {
      const predictedIou = answer!.predictedIou[chosen]!;
      this.#say(await exportMask(kind, { mask, predictedIou, picture: this.#picture, name: this.#image.name }));
    } catch (error) {
      this.#fail(error);
    }
  }

  #exportAll(): void {
    const { name, width, height } = this.#image!;
    const text = cocoJson({ imageName: name, width, height, objects: this.#session.objects });
    download(new Blob([text], { type: "application/json" }), `${name.replace(/\.[^.]*$/, "")}-coco.json`);
    this.#say(`${this.#session.objects.length} objects saved as COCO.`);
  }

  #listenToKeys(): void {
    listenToKeys(this.#stage.canvas, {
      act: (action) => this.act(action),
      choose: (output) => this.choose(output),
      finish: () => this.finish(),
      leave: () => this.#leave(),
      takeBack: () => this.#change(work.removeLast(this.#session)),
      hideAll: () => {
        this.#allHidden = !this.#allHidden;
        this.#say(this.#allHidden ? "Finished objects are hidden." : "Finished objects are shown.");
        this.#show();
      },
      moveCursor: (dx, dy) => this.#moveCursor(dx, dy),
      markAtCursor: (label) => {
        const { cursor } = this.#scene;
        if (cursor) this.addPoint(cursor.x, cursor.y, label);
      },
      boxCorner: () => this.#boxCorner(),
      zoom: (factor) => this.#zoom(factor, { x: this.#stage.width / 2, y: this.#stage.height / 2 }),
      holdSpace: (held) => (this.#pointerState.spaceHeld = held),
    });
  }

  /** Steps are of the screen, so that they are finer the closer one looks. */
  #moveCursor(dx: number, dy: number): void {
    if (!this.#image) return;
    const { width, height } = this.#image;
    const { scale } = this.#stage.view;
    const from = this.#scene.cursor ?? { x: Math.floor(width / 2), y: Math.floor(height / 2) };
    const moved = (at: number, by: number, length: number): number =>
      Math.min(length - 1, Math.max(0, Math.round(at + Math.sign(by) * Math.max(1, Math.abs(by) / scale))));
    const cursor = { x: moved(from.x, dx, width), y: moved(from.y, dy, height) };
    this.#setScene({ cursor, dragged: this.#corner ? boxOf(this.#corner, cursor) : null });
    this.#say(`Cursor at ${cursor.x}, ${cursor.y}`);
    this.#hover({ x: cursor.x * scale + this.#stage.view.x, y: cursor.y * scale + this.#stage.view.y });
  }

  #boxCorner(): void {
    const { cursor } = this.#scene;
    if (!cursor) return;
    if (this.#corner) this.setBox(boxOf(this.#corner, cursor));
    this.#say(this.#corner ? "Box drawn." : "Box begun; move to its other corner and press X.");
    this.#corner = this.#corner ? null : cursor;
    this.#setScene({ dragged: null });
  }

  // What tests look at

  currentMask(): Mask | null {
    const { answer, chosen } = this.#session.current;
    return answer?.masks[chosen] ?? null;
  }

  get session(): work.Session {
    return this.#session;
  }

  /** What the page is about, in plain values. */
  describe(): object {
    const { current, objects } = this.#session;
    return {
      imageId: this.#image?.id ?? null,
      view: this.#stage.view,
      points: current.points,
      box: current.box,
      chosen: current.chosen,
      predictedIou: current.answer?.predictedIou ?? [],
      objects: objects.map(({ id, name, hidden }) => ({ id, name, hidden })),
      region: this.#ready?.region ?? null,
      embedded: this.#ready !== null,
      hovers: this.#scene.hover !== null,
      everything: this.#everything.layers().length,
      numThreads: this.#decoder?.numThreads ?? 0,
      provider: this.#decoder?.provider ?? null,
    };
  }

  /** Resolves when no mark waits for its mask. */
  async settled(): Promise<void> {
    await this.#decoding;
  }
}

function boxOf(one: Place, other: Place): Box {
  return {
    x0: Math.min(one.x, other.x),
    y0: Math.min(one.y, other.y),
    x1: Math.max(one.x, other.x),
    y1: Math.max(one.y, other.y),
  };
}
