// Where files come from: a dialog, a drop, or the bundled examples.
import { at, made } from "./element.js";

export function pick(which, samples, take) {
  const input = at(`file-${which}`), drop = at(`drop-${which}`);
  const given = (files) => {
    const all = [...files].map((file) => ({ file, name: file.name, modified: new Date(file.lastModified) }));
    if (all.length) take(input.multiple ? all : all.slice(0, 1));
  };
  const chosen = () => {
    given(input.files);
    input.value = "";
  };
  input.addEventListener("change", chosen);
  chosen(); // whoever was faster than the server has chosen already
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    given(event.dataTransfer.files);
  });
  at(`samples-${which}`).replaceChildren(made("span", { className: "faint", textContent: "Or try an example:" }),
    ...samples.map((name, number) => sample(name, number, take)).sort((one) => (one.className ? -1 : 1)));
}

function sample(name, number, take) {
  const video = name.endsWith(".mp4");
  const button = made("button", { type: "button", className: video ? "video" : "" },
    video ? "Video" : made("img", { src: `samples/${name}`, alt: `Example photo ${number + 1}`, loading: "lazy" }));
  button.addEventListener("click", async () => {
    const file = await (await fetch(`samples/${name}`)).blob();
    take([{ file, name, modified: null }]);
  });
  return button;
}
