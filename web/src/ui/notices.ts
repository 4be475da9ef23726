/** What the page says: a status that is also read aloud, and a notice for what is waited for or went wrong. */
import { part } from "./dom";

export class Notices {
  readonly #status = part("status");
  readonly #notice = part("notice");

  say(text: string): void {
    this.#status.textContent = text;
  }

  /** Shows what is waited for; null when nothing is any more. */
  wait(text: string | null): void {
    this.#show(text, false);
  }

  fail(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.#show(text, true);
    this.say(text);
  }

  #show(text: string | null, isError: boolean): void {
    this.#notice.textContent = text ?? "";
    this.#notice.hidden = !text;
    this.#notice.classList.toggle("error", isError);
  }
}
