/** Sessions of all images: in memory, and a moment after each change in the store, from where a later visit has them. */
import type { SessionStore } from "../store/sessions";
import { newSession, type Session } from "../session/session";

const DELAY_MS = 150;

export class Keeper {
  readonly #sessions = new Map<string, Session>();
  #waiting: Session | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isWriting = false;

  /** failed: told when a session could not be kept. Without a store everything lasts as long as the page. */
  constructor(
    readonly store: Promise<SessionStore | null>,
    readonly failed: (error: unknown) => void,
  ) {}

  /** The work on an image where it was left. */
  async session(imageId: string): Promise<Session> {
    const known = this.#sessions.get(imageId);
    if (known) return known;
    // What is damaged is as if it were not there.
    const kept = await (await this.store)?.get(imageId).catch(() => null);
    const session = this.#sessions.get(imageId) ?? kept ?? newSession(imageId);
    this.#sessions.set(imageId, session);
    return session;
  }

  /** Keeps a session, in the store a moment later. */
  keep(session: Session): void {
    if (!session.imageId || this.#sessions.get(session.imageId) === session) return;
    if (this.#waiting && this.#waiting.imageId !== session.imageId) this.flush();
    this.#sessions.set(session.imageId, session);
    this.#waiting = session;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.flush(), DELAY_MS);
  }

  /** Writes what waits, at once. */
  flush(): void {
    clearTimeout(this.#timer);
    const session = this.#waiting;
    this.#waiting = null;
    if (!session) return;
    this.#isWriting = true;
    const writing = this.#writing.then(() => this.#write(session));
    this.#writing = writing;
    void writing.then(() => (this.#isWriting &&= this.#writing !== writing));
  }

  async #write(session: Session): Promise<void> {
    try {
      await (await this.store)?.put(session);
    } catch (error) {
      this.failed(error);
    }
  }

  /** Whether all that changed is in the store. */
  get isIdle(): boolean {
    return !this.#waiting && !this.#isWriting;
  }
}
