"use strict";
// Everything that is shown comes from this server; texts are set as text, never as HTML.
const at = (id) => document.getElementById(id);
const percent = (value) => (100 * value).toFixed(value > 0.001 && value < 0.999 ? 1 : 3) + " %";
let about = null;
let turn = 0; // only the last question is answered
let photo = null;
let roll = 0;

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").className = isError ? "error" : "";
}

function made(name, fields = {}, ...children) {
  const element = Object.assign(document.createElement(name), fields);
  element.append(...children);
  return element;
}

async function ask(path, file) {
  const mine = ++turn;
  if (file.size > about.limit) {
    say(`The file is larger than ${Math.round(about.limit / 1e6)} MB, the most that this page takes.`, true);
    return null;
  }
  say("Looking at it …");
  document.body.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(path, {
      method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
    });
    const text = await answer.text();
    if (mine !== turn) return null;
    const json = (answer.headers.get("content-type") || "").startsWith("application/json");
    const found = json ? JSON.parse(text) : { error: text || `The server gave no answer (${answer.status}).` };
    if (found.error) {
      say(found.error, true);
      return null;
    }
    say("");
    return found;
  } catch {
    if (mine === turn) say("The server cannot be reached, or took no more of the file.", true);
    return null;
  } finally {
    if (mine === turn) document.body.removeAttribute("aria-busy");
  }
}

function bar(name, value, real) {
  const meter = made("div", { role: "meter", ariaLabel: name, ariaValueMin: "0", ariaValueMax: "1", ariaValueNow: value,
    ariaValueText: percent(value), className: name === real ? "real" : "" }, made("div"));
  meter.firstChild.style.width = `${100 * value}%`;
  return made("div", { className: "bar" }, made("span", { textContent: name.replaceAll("_", " ") }), meter,
    made("span", { textContent: percent(value) }));
}

async function detect(file) {
  at("result-detect").hidden = true;
  const found = await ask("api/detect", file);
  if (!found) return;
  const kind = found.verdict || "unknown";
  at("verdict").replaceChildren(
    made("strong", { className: kind, textContent: found.verdict || "no verdict" }),
    made("span", { textContent: `P(real) ${found.score.toFixed(4)}` }),
    made("span", {
      className: "faint",
      textContent: found.calibrated === null ? "not calibrated" : `calibrated ${found.calibrated.toFixed(4)}`,
    }),
  );
  at("withheld").textContent = found.withheld;
  at("withheld").hidden = !found.withheld;
  for (const name of ["warnings", "notes"]) {
    at(name).replaceChildren(...found[name].map((text) => made("li", { textContent: text })));
    at(name).hidden = !found[name].length;
  }
  at("rule").textContent = found.rule;
  at("not-covered").textContent = found.not_covered;
  at("classes").replaceChildren(...Object.entries(found.classes).map(([name, value]) =>
    bar(name, value, found.real)));
  at("timeline").hidden = !found.timeline;
  if (found.timeline) {
    at("timeline").src = found.timeline;
    at("timeline").alt = `Course of P(real) along the video; its mean is ${found.score.toFixed(4)}`;
  }
  const parts = [found.found === 1 ? "One face" : `${found.found} faces`];
  if (found.count < found.found) parts.push(`${found.count} judged`);
  if (found.faces.length < found.count) parts.push(`${found.faces.length} shown`);
  if (found.kind === "video") parts.push(`in ${found.frames_with_face} of ${found.frames} frames`);
  at("faces-title").textContent = parts.join(", ");
  at("faces").replaceChildren(...found.faces.map((face) => {
    const where = found.kind !== "video" ? ""
      : face.second === null ? `frame ${face.frame}: ` : `${face.second.toFixed(2)} s: `;
    const sure = face.confidence === null ? "" : `, face detector ${face.confidence.toFixed(2)}`;
    const decides = !face.decides || found.count === 1 ? ""
      : found.kind === "video" ? "looks most forged: " : "decides: ";
    const text = `${decides}${where}P(real) ${face.score.toFixed(4)}${sure}`;
    return made("figure", { className: decides ? "decides" : "" },
      made("img", { src: face.picture, alt: `Face, ${text}` }), made("figcaption", { textContent: text }));
  }));
  at("heat-note").textContent = found.explained
    ? "Beside each face: where Grad-CAM finds what speaks for a forgery, scaled by its own largest value."
    : "A serialized detector has no heat maps.";
  at("result-detect").hidden = false;
}

async function mask() {
  if (!photo) return;
  const query = new URLSearchParams({ strategy: at("strategy").value, ratio: at("ratio").value, roll });
  const found = await ask(`api/mask?${query}`, photo);
  at("result-mask").hidden = !found;
  if (!found) return;
  const covered = found.covered ? ` Covered: ${found.covered}, ${found.covered_patches} patches.` : "";
  at("mask-text").textContent = `${found.hidden} of ${found.patches} patches are hidden.${covered}`;
  const pictures = [["photo", found.photo], ["parsing map", found.map],
    [found.covered ? "mask: the covered region is red" : "mask", found.mask]];
  if (found.reconstruction) pictures.push([`reconstruction by ${found.run}`, found.reconstruction]);
  at("mask-pictures").replaceChildren(...pictures.map(([text, source]) =>
    made("figure", {}, made("img", { src: source, alt: text, width: 224, height: 224 }),
      made("figcaption", { textContent: text }))));
}

function takePhoto(file) {
  photo = file;
  roll = 0;
  at("roll").disabled = false;
  mask();
}

function chooser(which, answer) {
  const input = at(`file-${which}`), drop = at(`drop-${which}`);
  const take = (file) => {
    for (const button of at(`samples-${which}`).children) button.setAttribute("aria-pressed", "false");
    answer(file);
  };
  const chosen = () => {
    if (input.files.length) take(input.files[0]);
    input.value = "";
  };
  input.addEventListener("change", chosen);
  chosen();  // Whoever was faster than the server has chosen already.
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
  at(`samples-${which}`).replaceChildren(...about.samples.map((name, number) => {
    const button = made("button", { type: "button" },
      made("img", { src: `samples/${name}`, alt: `Bundled photo ${number + 1}`, loading: "lazy" }));
    button.addEventListener("click", async () => {
      const file = await (await fetch(`samples/${name}`)).blob();
      take(file);
      button.setAttribute("aria-pressed", "true");
    });
    return button;
  }));
}

function choose(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    at(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  turn++;
  say(tab.id === "tab-detect" && about && !about.detector ? about.no_detector : "");
}

async function start() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, number) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const next = tabs[(number + 1) % tabs.length];
      choose(next);
      next.focus();
    });
  });
  // A drop beside the field must not open the file in the place of the page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  about = await (await fetch("api/about")).json();
  at("strategy").replaceChildren(...about.strategies.map(({ name, title, chosen }) =>
    made("option", { value: name, textContent: title, selected: chosen })));
  Object.assign(at("ratio"), { min: about.ratios[0], max: about.ratios[2], value: about.ratios[1] });
  const told = () => {
    at("ratio-text").textContent = `${Math.round(100 * at("ratio").value)} %`;
    at("strategy-note").textContent = about.strategies[at("strategy").selectedIndex].about;
  };
  told();
  at("about").textContent = [["Detector", about.detector], ["pretraining", about.pretraining]]
    .filter(([, name]) => name).map(([kind, name]) => `${kind}: ${name}`).join(" · ");
  at("ratio").addEventListener("input", told);
  at("ratio").addEventListener("change", mask);
  at("strategy").addEventListener("change", () => { told(); mask(); });
  at("mask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    roll++;
    mask();
  });
  chooser("detect", detect);
  chooser("mask", takePhoto);
  at("file-detect").disabled = !about.detector;
  if (!about.detector) choose(at("tab-mask"));
  document.body.dataset.ready = "yes";
}

start().catch(() => say("The server cannot be reached.", true));
