// A picture to search by: dropped on the page, pasted, or chosen with the button.

import { uploadPicture } from "./api.js";
import { byId, icon } from "./dom.js";

/** @param {{onPicture: (id: string, bitmap: ImageBitmap | null) => void, onError: (error: Error) => void, onBusy: (isBusy: boolean) => void}} listeners */
export function takePictures({ onPicture, onError, onBusy }) {
  const file = /** @type {HTMLInputElement} */ (byId("picture-file"));
  const button = byId("picture");
  button.append(icon("picture"));
  button.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files?.[0]) take(file.files[0]);
    file.value = "";
  });

  document.addEventListener("paste", (event) => {
    const picture = firstPicture(event.clipboardData);
    if (!picture) return;
    event.preventDefault();
    take(picture);
  });

  const overlay = byId("drop");
  const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    overlay.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // or the browser would leave the page for the file
    overlay.hidden = true;
    const dropped = event.dataTransfer?.files[0];
    if (dropped) take(dropped); // whatever it is: the server says what it takes
  });

  /** @param {File} picture */
  async function take(picture) {
    onBusy(true);
    try {
      const [id, bitmap] = await Promise.all([uploadPicture(picture), createImageBitmap(picture).catch(() => null)]);
      onPicture(id, bitmap);
    } catch (error) {
      onError(/** @type {Error} */ (error));
    } finally {
      onBusy(false);
    }
  }
}

/** @param {DataTransfer | null} data */
const firstPicture = (data) => [...(data?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;
