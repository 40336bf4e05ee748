// The original picture, or a frame of a video, with the numbered faces on it.
import { decimal, made } from "./element.js";

export const place = (preview) =>
  preview.second === null ? `frame ${preview.frame}` : `${decimal(preview.second)} s`;

// What stands for a place in the video: its second, or its frame where the file has no clock.
export const placed = (one) => one.second ?? one.frame;

export const nearest = (previews, value) =>
  previews.reduce((one, other) => (Math.abs(placed(other) - value) < Math.abs(placed(one) - value) ? other : one));

// The picture to begin with: that of the face that looks most forged.
export function firstPreview(answer) {
  const worst = answer.people.reduce((one, other) => (other.score < one.score ? other : one));
  return nearest(answer.previews, placed(answer.faces[worst.shown]));
}

export function boxOf(face, preview, element) {
  const [left, top, right, bottom] = face.box;
  const share = (value, whole) => `${(100 * Math.min(Math.max(value / whole, 0), 1)).toFixed(3)}%`;
  Object.assign(element.style, {
    left: share(left, preview.width), top: share(top, preview.height),
    width: share(Math.min(right, preview.width) - Math.max(left, 0), preview.width),
    height: share(Math.min(bottom, preview.height) - Math.max(top, 0), preview.height),
  });
  return element;
}

export function drawPreview(answer, name, { boxes, moved = () => {} }) {
  const image = made("img"), layer = made("div", { className: "boxes" });
  const frame = made("div", { className: "frame" }, image, layer);
  const figure = made("figure", { className: "preview" }, frame);
  const show = (preview) => {
    image.src = preview.picture;
    Object.assign(image, { width: preview.width, height: preview.height });
    image.alt = answer.kind === "video" ? `${name} at ${place(preview)}` : name;
    layer.replaceChildren(...boxes(preview));
    moved(preview);
  };
  if (answer.previews.length > 1) figure.append(slider(answer.previews, show));
  return { figure, show };
}

function slider(previews, show) {
  const range = made("input", { type: "range", min: 0, max: previews.length - 1, value: 0, ariaLabel: "Place in the video" });
  const text = made("output");
  range.addEventListener("input", () => show(previews[range.value]));
  const label = made("label", { className: "slider" }, range, text);
  label.move = (index) => {
    range.value = index;
    range.ariaValueText = text.textContent = place(previews[index]);
  };
  return label;
}
