/**
 * Files that arrive by being dropped on the page or pasted into it.
 */
import { part } from "../ui/dom";

export function listenToFiles(arrived: (files: Iterable<File>) => void): void {
  const drop = part("drop");
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.hidden = false;
  });
  window.addEventListener("dragleave", (event) => (drop.hidden = event.relatedTarget === null));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.hidden = true;
    arrived(event.dataTransfer?.files ?? []);
  });
  window.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) arrived(event.clipboardData.files);
  });
}
