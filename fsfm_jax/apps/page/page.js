// The start: what this server offers, the tabs, and how files are looked at.
import { at, made, plain } from "./element.js";
import { Files } from "./files.js";
import { Masks } from "./masks.js";
import { pick } from "./picker.js";

const OWN = "own";
const TITLES = { false_alarm: "few false alarms", equal_error: "both errors equally often", [OWN]: "your own number" };
const FACES = { all: "all faces", largest: "largest face", surest: "surest face" };

function choose(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    at(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}

function offerTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) tab.addEventListener("click", () => choose(tab));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}

function offerChoice({ usual, faces, thresholds, most_frames: most }) {
  const own = !(usual.threshold in TITLES);
  const kept = own ? thresholds : thresholds.concat(
    thresholds.some(({ name }) => name === usual.threshold) ? [] : [{ name: usual.threshold, photo: "", video: "" }]);
  at("faces").replaceChildren(...faces.map((name) =>
    made("option", { value: name, textContent: FACES[name], selected: name === usual.faces })));
  at("threshold").replaceChildren(...[...kept.map(({ name }) => name), OWN].map((name) =>
    made("option", { value: name, textContent: TITLES[name], selected: name === (own ? OWN : usual.threshold) })));
  Object.assign(at("frames"), { max: most, value: usual.frames });
  if (own) at("own").value = usual.threshold;
  const tell = () => {
    const row = kept.find(({ name }) => name === at("threshold").value);
    at("own-label").hidden = Boolean(row);
    at("own").disabled = Boolean(row);
    at("threshold-note").textContent = !row ? "How often it is wrong at a number of your own is not known."
      : row.photo.replace("faces", "videos") === row.video ? row.photo.replace("faces", "faces and videos")
        : `${row.photo} ${row.video}`.trim();
  };
  at("threshold").addEventListener("change", tell);
  at("choice").addEventListener("submit", (event) => event.preventDefault());
  tell();
}

function choice() {
  if (!at("choice").reportValidity()) return null;
  const threshold = at("threshold").value === OWN ? at("own").value : at("threshold").value;
  return { faces: at("faces").value, frames: at("frames").value, threshold };
}

async function start() {
  offerTabs();
  // A drop beside the field must not open the file in the place of the page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  const about = await (await fetch("api/about")).json();
  at("about").textContent = [["Detector", about.detector], ["pretraining", about.pretraining]]
    .filter(([, name]) => name).map(([kind, name]) => `${kind}: ${plain(name)}`).join(" · ");
  offerChoice(about);
  const files = new Files(about, choice), masks = new Masks(about);
  at("file-detect").disabled = !about.detector;
  if (about.detector) pick("detect", about.samples, (given) => files.add(given));
  pick("mask", about.samples.filter((name) => !name.endsWith(".mp4")), (given) => masks.open(given));
  if (!about.detector) {
    at("choice").hidden = true;
    say(about.no_detector);
    choose(at("tab-mask"));
  }
  document.body.dataset.ready = "yes";
}

function say(text) { // what belongs to no file
  at("status").className = "error";
  at("status").textContent = text;
}

start().catch(() => say("The server cannot be reached."));
