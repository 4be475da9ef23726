/** Files that come by themselves: dropped on the page, or pasted. */
export function listenToFiles(drop: HTMLElement, take: (files: Iterable<File>) => void): void {
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.hidden = false;
  });
  window.addEventListener("dragleave", (event) => (drop.hidden = event.relatedTarget === null));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.hidden = true;
    take(event.dataTransfer?.files ?? []);
  });
  window.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });
}
