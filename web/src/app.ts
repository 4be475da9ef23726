/**
 * Puts the parts together: the picture and its view, the session's marks, the decoder, and what the page shows of them.
 */
import type { Image } from "./api/client";
import { PointerInput, type Place, type PointerState } from "./canvas/pointer";
import { EMPTY_SCENE, Stage, type Scene } from "./canvas/stage";
import { Viewport } from "./canvas/viewport";
import { screenToImage, visibleRegion } from "./geometry/view";
import type { Parts } from "./inspect";
import { objectColor } from "./masks/colors";
import type { Box } from "./masks/mask";
import * as work from "./session/session";
import { SessionStore } from "./store/sessions";
import { boxOf, Cursor } from "./tools/cursor";
import { EverythingTool } from "./tools/everything_tool";
import { exportCurrent, exportObjects } from "./tools/exports";
import { Keeper } from "./tools/keeper";
import { listenToKeys } from "./tools/keys";
import { Workspace } from "./tools/workspace";
import { listenToFiles } from "./ui/arrivals";
import { part } from "./ui/dom";
import { buildHelp } from "./ui/help";
import { Notices } from "./ui/notices";
import { Panel, type ExportKind } from "./ui/panel";
import { disabledActions, factsOf, maskAtHand, panelState } from "./ui/present";
import { Strip } from "./ui/strip";
import { Toolbar, type Action } from "./ui/toolbar";

const GPU_KEY = "segloop-webgpu";
const SESSIONS_BYTES = 400 * 2 ** 20;

export class App {
  readonly #viewport: Viewport = new Viewport(() => this.#stage, () => this.#space.image);
  readonly #stage = new Stage(part<HTMLCanvasElement>("canvas"), () => this.#viewport.resized());
  readonly #pointerState: PointerState = { tool: "point", negative: false, spaceHeld: false };
  readonly #toolbar = new Toolbar(part("toolbar"), (action) => this.act(action));
  readonly #strip = new Strip(part("images"), {
    open: (image) => void this.open(image),
    upload: (files) => void this.upload(files),
  });
  readonly #panel: Panel;
  readonly #everything: EverythingTool;
  readonly #notices = new Notices();
  readonly #keeper = new Keeper(
    SessionStore.open({ maxBytes: SESSIONS_BYTES }).catch(() => null),
    (error) => this.#notices.fail(error),
  );
  readonly #space = new Workspace((text) => this.#notices.wait(text));
  readonly #cursor = new Cursor();
  #session = work.newSession("");
  #decoding: Promise<void> = Promise.resolve();
  #scene: Scene = EMPTY_SCENE;
  #hoverPlace: Place | null = null;
  #allHidden = false;
  #opening = Symbol();

  constructor() {
    this.#panel = new Panel(part("panel"), this.#panelHandlers(), localStorage.getItem(GPU_KEY) === "1");
    this.#everything = new EverythingTool(part("everything"), {
      changed: () => this.#show(),
      take: (mask, predictedIou) => this.#change(work.take(this.#session, mask, predictedIou)),
      failed: (error) => this.#notices.fail(error),
      say: (text) => this.#notices.say(text),
    }, this.#space.worker);
    new PointerInput(this.#stage.canvas, this.#pointerState, this.#pointerHandlers());
    this.#listenToKeys();
    listenToFiles(part("drop"), (files) => void this.upload(files));
    window.addEventListener("pagehide", () => this.#keeper.flush());
    buildHelp(part<HTMLDialogElement>("help"));
    this.#show();
  }

  /** Resolves when the first picture can be clicked. */
  async start(): Promise<void> {
    this.#notices.say("Loading the model…");
    await this.#space.load();
    const { images } = this.#space;
    const decoderReady = this.#openDecoder(localStorage.getItem(GPU_KEY) === "1");
    const asked = location.hash.slice(1);
    const first = images.find((image) => image.id === asked) ?? images[0];
    this.#strip.show(images, first?.id ?? null);
    await Promise.all([decoderReady, first && this.open(first)]);
    if (!first) this.#notices.say("Upload, drop or paste a picture to begin.");
  }

  async #openDecoder(wantsGpu: boolean): Promise<void> {
    const badge = part("badge");
    badge.textContent = await this.#space.openDecoder(wantsGpu);
    badge.hidden = false;
  }

  async open(image: Image): Promise<void> {
    const opening = (this.#opening = Symbol());
    this.#space.close();
    const session = await this.#keeper.session(image.id);
    if (opening !== this.#opening) return;
    this.#session = session;
    this.#cursor.corner = null;
    this.#scene = EMPTY_SCENE;
    this.#everything.close();
    history.replaceState(null, "", `#${image.id}`);
    this.#strip.show(this.#space.images, image.id);
    this.#notices.wait(`Opening ${image.name}…`);
    try {
      const isOpen = await this.#space.open(image, (picture) => {
        this.#stage.setPicture(picture);
        this.#panel.setPicture(picture.smallest);
        this.#viewport.fit();
        this.#show();
      });
      if (!isOpen) return;
      this.#notices.wait(null);
      this.#notices.say(`${image.name} is ready. Point at something.`);
      this.#decodeIfDue();
      this.#show();
    } catch (error) {
      this.#notices.fail(error);
    }
  }

  async upload(files: Iterable<File>): Promise<void> {
    for (const file of files) {
      try {
        this.#notices.wait(`Sending ${file.name}…`);
        await this.open(await this.#space.upload(file));
      } catch (error) {
        this.#notices.fail(error);
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
    else if (action === "fit") this.#viewport.fit();
    else if (action === "help") part<HTMLDialogElement>("help").showModal();
    else if (action === "everything") this.#toggleEverything();
    else void this.#refine();
    this.#stage.canvas.dataset["tool"] = state.tool;
    this.#show();
  }

  #toggleEverything(): void {
    if (this.#everything.isOpen) this.#everything.close();
    else if (this.#space.image) void this.#everything.open(this.#space.image.id);
  }

  /** Encodes what is in view and decodes there; once more goes back to the whole picture. */
  async #refine(): Promise<void> {
    const { image, ready } = this.#space;
    if (!image || !ready) return;
    const seen = visibleRegion(this.#stage.view, image, this.#stage);
    const isPart = seen && (seen.x1 - seen.x0 < image.width || seen.y1 - seen.y0 < image.height);
    const { current } = this.#session;
    try {
      await this.#space.look(isPart && !ready.region ? [seen.x0, seen.y0, seen.x1, seen.y1] : null);
      this.#notices.wait(null);
      if (this.#space.ready?.region) {
        this.#notices.say("Looking closely at what is in view.");
        if (current === this.#session.current && !work.isEmpty(current)) this.#decodeCurrent();
      } else this.#notices.say(isPart ? "Back to the whole picture." : "Zoom in first, then refine.");
      this.#show();
    } catch (error) {
      this.#notices.fail(error);
    }
  }

  /** Whether a place lies in the picture. */
  #holds({ x, y }: Place): boolean {
    const { image } = this.#space;
    return image !== null && x >= 0 && y >= 0 && x < image.width && y < image.height;
  }

  /** Marks the pixel at a place of the image. */
  addPoint(placeX: number, placeY: number, label: 0 | 1): void {
    const [x, y] = [Math.floor(placeX), Math.floor(placeY)];
    if (!this.#holds({ x, y })) return;
    if (this.#everything.isOpen) this.#everything.takeAt(x, y);
    else this.#change(work.addPoint(this.#session, { x, y, label }), true);
  }

  setBox(box: Box): void {
    const { width, height } = this.#space.image!;
    const inside = { x0: Math.max(0, box.x0), y0: Math.max(0, box.y0), x1: Math.min(width, box.x1), y1: Math.min(height, box.y1) };
    if (inside.x1 - inside.x0 >= 1 && inside.y1 - inside.y0 >= 1) this.#change(work.setBox(this.#session, inside), true);
  }

  #leave(): void {
    this.#cursor.corner = null;
    if (this.#everything.isOpen) this.#everything.close();
    else this.#change(work.clear(this.#session));
  }

  #change(session: work.Session, decodes = false): void {
    this.#session = session;
    this.#keeper.keep(session);
    if (!decodes) this.#scene = { ...this.#scene, hover: null }; // else it stays until the answer is there
    this.#space.dropPreview();
    if (decodes) this.#decodeCurrent();
    else this.#decodeIfDue();
    this.#show();
  }

  #decodeIfDue(): void {
    const { current } = this.#session;
    if (!current.answer && !work.isEmpty(current)) this.#decodeCurrent();
  }

  #decodeCurrent(): void {
    const { current } = this.#session;
    this.#decoding = this.#decode(current).catch((error: unknown) => this.#notices.fail(error));
  }

  async #decode(current: work.CurrentObject): Promise<void> {
    const answer = await this.#space.answer(current);
    if (!answer || current !== this.#session.current) return; // a later mark has overtaken it
    this.#session = work.acceptLogits(this.#session, answer);
    this.#keeper.keep(this.#session);
    this.#scene = { ...this.#scene, hover: null };
    this.#notices.say(factsOf(this.#session.current));
    this.#show();
  }

  #hover(place: Place | null): void {
    this.#hoverPlace = place;
    const isIdle = (): boolean => work.isEmpty(this.#session.current) && !this.#everything.isOpen;
    const point = place && screenToImage(this.#stage.view, place);
    if (!point || !this.#holds(point) || !isIdle() || this.#pointerState.tool !== "point") {
      this.#space.dropPreview();
      if (this.#scene.hover) this.#setScene({ hover: null });
      return;
    }
    this.#space
      .preview(point)
      .then((hover) => {
        if (hover && this.#hoverPlace && isIdle()) this.#setScene({ hover });
      })
      .catch(() => undefined); // a preview that fails is no news; the click will tell
  }

  // What the page shows

  #show(): void {
    const { current, objects } = this.#session;
    const shown = objects.flatMap((one) =>
      one.hidden || this.#allHidden ? [] : [{ mask: one.mask, color: objectColor(one.id), strong: true }],
    );
    const region = this.#space.ready?.region ?? null;
    this.#setScene({
      layers: [...this.#everything.layers(), ...shown],
      current: maskAtHand(current),
      points: current.points,
      box: current.box,
      region,
    });
    this.#panel.show(panelState(this.#session));
    const { tool, negative } = this.#pointerState;
    const pressed = new Set<Action>([tool]);
    if (negative) pressed.add("negative");
    if (this.#everything.isOpen) pressed.add("everything");
    if (region) pressed.add("refine");
    this.#toolbar.show(pressed, disabledActions(this.#session, this.#space.image !== null));
  }

  #setScene(change: Partial<Scene>): void {
    this.#scene = { ...this.#scene, ...change };
    this.#stage.setScene(this.#scene);
  }

  report(error: unknown): void {
    this.#notices.fail(error);
  }

  // Where its doings come from

  #pointerHandlers(): ConstructorParameters<typeof PointerInput>[2] {
    const toImage = (place: Place): Place => screenToImage(this.#stage.view, place);
    return {
      hover: (place) => this.#hover(place),
      click: (place, negative) => {
        const { x, y } = toImage(place);
        this.#cursor.place = null;
        this.#setScene({ cursor: null });
        this.addPoint(x, y, negative ? 0 : 1);
      },
      drag: (from, to, done) => {
        const box = boxOf(toImage(from), toImage(to));
        this.#setScene({ dragged: done ? null : box, hover: null });
        if (done && this.#space.image) this.setBox(box);
      },
      cancelDrag: () => this.#setScene({ dragged: null }),
      pan: (dx, dy) => this.#viewport.pan(dx, dy),
      zoom: (factor, about) => this.#viewport.zoom(factor, about),
    };
  }

  #panelHandlers(): ConstructorParameters<typeof Panel>[1] {
    return {
      choose: (output) => this.choose(output),
      finish: () => this.finish(),
      export: (kind) => this.#export(kind),
      exportAll: () => this.#notices.say(exportObjects(this.#space.image!, this.#session.objects)),
      rename: (id, name) => this.#change(work.rename(this.#session, id, name)),
      toggleHidden: (id) => this.#change(work.toggleHidden(this.#session, id)),
      reopen: (id) => this.#change(work.reopen(this.#session, id)),
      remove: (id) => this.#change(work.remove(this.#session, id)),
      wantGpu: (wanted) => {
        localStorage.setItem(GPU_KEY, wanted ? "1" : "0");
        void this.#openDecoder(wanted)
          .then(() => this.#space.image && this.open(this.#space.image))
          .catch((error: unknown) => this.#notices.fail(error));
      },
      emptyStore: () => void this.#space.emptyStore().then(() => this.#notices.say("No embeddings are kept any more.")),
    };
  }

  choose(output: number): void {
    this.#change(work.choose(this.#session, output));
    this.#notices.say(factsOf(this.#session.current));
  }

  finish(): void {
    if (!maskAtHand(this.#session.current)) return;
    this.#change(work.finish(this.#session));
    this.#notices.say(`${this.#session.objects.at(-1)!.name} finished.`);
  }

  #export(kind: ExportKind): void {
    const { content, image, worker } = this.#space;
    if (!content || !image) return;
    exportCurrent(kind, this.#session.current, { content, name: image.name }, worker).then(
      (text) => text && this.#notices.say(text),
      (error: unknown) => this.#notices.fail(error),
    );
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
        this.#notices.say(this.#allHidden ? "Finished objects are hidden." : "Finished objects are shown.");
        this.#show();
      },
      moveCursor: (dx, dy) => this.#moveCursor(dx, dy),
      markAtCursor: (label) => {
        const { place } = this.#cursor;
        if (place) this.addPoint(place.x, place.y, label);
      },
      boxCorner: () => this.#boxCorner(),
      zoom: (factor) => this.#viewport.zoom(factor),
      holdSpace: (held) => (this.#pointerState.spaceHeld = held),
    });
  }

  #moveCursor(dx: number, dy: number): void {
    const { image } = this.#space;
    if (!image) return;
    const { view } = this.#stage;
    const cursor = this.#cursor.move(dx, dy, image, view.scale);
    this.#setScene({ cursor, dragged: this.#cursor.drawn });
    this.#notices.say(`Cursor at ${cursor.x}, ${cursor.y}`);
    this.#hover({ x: cursor.x * view.scale + view.x, y: cursor.y * view.scale + view.y });
  }

  #boxCorner(): void {
    if (!this.#cursor.place) return;
    const box = this.#cursor.markCorner();
    if (box) this.setBox(box);
    this.#notices.say(box ? "Box drawn." : "Box begun; move to its other corner and press X.");
    this.#setScene({ dragged: null });
  }

  // What tests look at

  get parts(): Parts {
    const { isIdle: isSaved } = this.#keeper;
    const numEverything = this.#everything.layers().length;
    return { session: this.#session, space: this.#space, view: this.#stage.view, scene: this.#scene, numEverything, isSaved };
  }

  /** Resolves when no mark waits for its mask. */
  settled(): Promise<void> {
    return this.#decoding;
  }
}
