// The second tab: a face is read once, then masks are drawn over it and filled in.
import { ask, describe } from "./ask.js";
import { at, made, plain } from "./element.js";
import { boxOf } from "./preview.js";

export class Masks {
  constructor(about) {
    this.about = about;
    this.turn = 0; // only the last question is answered
    this.face = null;
    this.roll = 0;
    at("strategy").replaceChildren(...about.strategies.map(({ name, title, chosen }) =>
      made("option", { value: name, textContent: title, selected: chosen })));
    Object.assign(at("ratio"), { min: about.ratios[0], max: about.ratios[2], value: about.ratios[1] });
    at("ratio").addEventListener("input", () => this.draw());
    at("strategy").addEventListener("change", () => this.draw());
    at("mask-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.roll++;
      this.draw();
    });
    this.tell();
  }

  tell() {
    at("ratio-text").textContent = `${Math.round(100 * at("ratio").value)} %`;
    at("strategy-note").textContent = this.about.strategies[at("strategy").selectedIndex].about;
  }

  say(text, isError = false) {
    at("mask-status").textContent = text;
    at("mask-status").className = isError ? "error" : "";
  }

  async open([{ file, name }]) {
    const mine = ++this.turn;
    this.face = null;
    at("roll").disabled = at("result-mask").hidden = true;
    try {
      if (file.size > this.about.limit) {
        throw new Error(`The file is larger than ${Math.round(this.about.limit / 1e6)} MB, the most that this page takes.`);
      }
      const told = (progress) => mine === this.turn && this.say(describe(progress));
      const found = await ask("api/face", file, { told });
      if (mine !== this.turn) return;
      this.face = { ...found, name: plain(name), bytes: Uint8Array.from(atob(found.face), (one) => one.charCodeAt(0)) };
      this.roll = 0;
      at("roll").disabled = false;
      this.say("");
      this.draw();
    } catch (error) {
      if (mine === this.turn) this.say(error.message, true);
    }
  }

  async draw() {
    this.tell();
    if (!this.face) return;
    const mine = ++this.turn;
    const query = { strategy: at("strategy").value, ratio: at("ratio").value, roll: this.roll };
    try {
      const answer = await fetch(`api/mask?${new URLSearchParams(query)}`, {
        method: "POST", body: this.face.bytes, headers: { "Content-Type": "application/octet-stream" },
      });
      const found = await answer.json();
      if (mine !== this.turn) return;
      if (found.error) throw new Error(found.error);
      this.say("");
      this.show(found);
    } catch (error) {
      if (mine === this.turn) this.say(error.message, true);
    }
  }

  show(found) {
    const { photo, map, previews: [preview], box, found: count, name } = this.face;
    const whole = made("div", { className: "frame" }, made("img", { src: preview.picture, alt: name }),
      boxOf({ box }, preview, made("div", { className: "box none" })));
    const pictures = [[whole, count > 1 ? `the photo: the largest of ${count} faces is taken` : "the photo and its face"],
      [picture(photo, "face"), "the face"], [picture(map, "parsing map"), "parsing map: what each pixel is"],
      [picture(found.mask, "mask"), found.covered ? `mask; red is covered: ${found.covered}` : "mask"]];
    if (found.reconstruction) {
      const own = found.true_contrast ? "; mean and contrast of each patch are the photo's own" : "";
      pictures.push([picture(found.reconstruction, "reconstruction"),
        `hidden patches as the network “${found.run}” fills them in${own}`]);
    }
    at("mask-pictures").replaceChildren(...pictures.map(([element, text]) =>
      made("figure", {}, element, made("figcaption", { textContent: text }))));
    at("mask-text").textContent = `${found.hidden} of ${found.patches} patches are hidden. ${covered(found)}`;
    at("mask-regions").tBodies[0].replaceChildren(...found.regions.map(row));
    at("mask-face").textContent = "The boundary is where skin meets hair or background. A patch that holds several regions "
      + "counts for the covered one, or else for the first of them in this list.";
    at("result-mask").hidden = false;
  }
}

const picture = (source, alt) => made("img", { src: source, alt, width: 224, height: 224 });

function covered({ covered: name, covered_patches: patches, regions }) {
  const whole = regions.find((one) => one.name === name);
  if (name && !patches) return `Covered region: ${name}, which this photo does not show.`;
  if (name && whole.hidden < whole.patches) {
    return `Covered region: ${name}, ${patches} of ${whole.patches} patches; it is larger than what may be hidden.`;
  }
  if (name) return `Covered region: ${name}, ${patches} patches.`;
  const lost = regions.filter((one) => one.patches && one.hidden === one.patches).map((one) => one.name);
  return lost.length ? `No region is covered on purpose; hidden completely this time: ${lost.join(", ")}.`
    : "No region is covered, and none is hidden completely this time.";
}

function row({ name, patches, hidden }) {
  const meter = made("meter", { min: 0, max: patches || 1, value: hidden, ariaLabel: `${name} hidden` });
  return made("tr", {}, made("th", { scope: "row", textContent: name }), made("td", {}, meter),
    made("td", { textContent: patches ? `${hidden} of ${patches}` : "not in this photo" }));
}
