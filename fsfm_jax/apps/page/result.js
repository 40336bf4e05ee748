// What was found in one file: the verdict in a sentence, the file, its people, and on demand how it was decided.
import { made, moment, plain, size } from "./element.js";
import { drawPerson, facts, kindOf } from "./person.js";
import { boxOf, drawPreview, firstPreview, nearest, placed } from "./preview.js";
import { saveData, saveReport } from "./report.js";

const SHOWN = 12; // cards; the rest on demand
const ORDER = { forged: 0, "": 1, real: 2 };

export const short = (digest) => digest.slice(0, 12);

export function fileFacts(entry, about) {
  const { answer } = entry;
  return [
    ["Kind", `${answer.kind}, ${answer.width} × ${answer.height} pixels, ${size(answer.bytes)}`],
    ["Last modified", moment(entry.modified)],
    ["Checked", moment(entry.checked)],
    ["SHA-256", made("code", { textContent: answer.sha256 })],
    ["Detector", made("span", {}, made("bdi", { textContent: plain(about.detector) }), ", weights ",
      made("code", { textContent: short(about.weights_sha256), title: about.weights_sha256 }))],
    ["Program", `fsfm_jax ${about.version}`],
  ];
}

export const peopleTitle = (answer) => {
  const count = answer.people.length, [one, many] = answer.kind === "video" ? ["person", "people"] : ["face", "faces"];
  if (answer.kind === "photo" && answer.found > count) return `${count} of ${answer.found} faces that were found`;
  return count === 1 ? `One ${one}` : `${count} ${many}`;
};

export function decided(answer, choice) {
  const searched = answer.kind === "video"
    ? [`A face was found in ${answer.frames_with_face} of ${answer.frames} frames, evenly spaced.`] : [];
  const own = { all: "All faces were judged.", largest: "Only the largest face of a picture was judged." }[choice.faces];
  const again = answer.kind === "video" && answer.people.length > 1
    ? ["Whoever leaves the picture and comes back may be counted twice."] : [];
  return [...searched, ...(own ? [own] : []), ...again, answer.rule, ...answer.notes, answer.not_covered].filter(Boolean);
}

export function showResult(place, entry, about, again) {
  if (entry.state !== "done") {
    place.replaceChildren(made("h2", {}, made("bdi", { textContent: plain(entry.name) })),
      verdict({ verdict: "", says: "No verdict.", why: entry.error }), button("Check again", again));
    return;
  }
  const { answer } = entry, cards = answer.people.map((_, index) => drawPerson(answer, index, { jump }));
  const preview = drawPreview(answer, plain(entry.name), { boxes, moved });
  place.replaceChildren(
    made("h2", {}, made("bdi", { textContent: plain(entry.name) })),
    made("div", { className: "head" }, preview.figure,
      made("div", {}, verdict(answer), warnings(answer), facts(fileFacts(entry, about)),
        made("div", { className: "buttons" },
          button("Save report", () => saveReport(entry, about)), button("Save data (JSON)", () => saveData(entry, about)),
          button("Check again", again)))),
    made("h2", { textContent: peopleTitle(answer) }), list(answer, cards),
    made("details", {}, made("summary", { textContent: "How this was decided" }),
      made("ul", {}, ...decided(answer, entry.choice).map((text) => made("li", { textContent: text })))));

  function boxes(shown) {
    return answer.faces.filter((face) => face.frame === shown.frame).map((face) => {
      const number = face.person + 1, person = answer.people[face.person];
      const box = boxOf(face, shown, made("button", { type: "button", className: `box ${kindOf(person.verdict)}`,
        ariaLabel: `Go to ${answer.kind === "video" ? "person" : "face"} ${number}` }, made("span", { textContent: number })));
      box.addEventListener("click", () => {
        cards[face.person].hidden = false;
        cards[face.person].scrollIntoView({ block: "nearest" });
        cards[face.person].focus();
      });
      return box;
    });
  }

  function moved(shown) {
    preview?.figure.querySelector(".slider")?.move(answer.previews.indexOf(shown));
    for (const card of cards) card.mark(placed(shown));
  }

  function jump(value) {
    preview.show(nearest(answer.previews, value));
  }

  preview.show(firstPreview(answer));
}

export function verdict(answer) {
  const element = made("div", { className: `verdict ${kindOf(answer.verdict)}` },
    made("p", { className: "says", textContent: answer.says }));
  for (const text of [answer.why, answer.rates, answer.several]) if (text) element.append(made("p", { textContent: text }));
  return element;
}

// The first clause is for everybody, the rest for whoever asks.
export function warnings(answer, open = false) {
  const boxes = answer.warnings.map((text) => {
    const [first, ...rest] = text.split(/; |: (?=at its threshold)/);
    if (!rest.length) return made("p", { className: "warning", textContent: text });
    return made("details", { className: "warning", open }, made("summary", { textContent: `${first}.` }),
      made("p", { textContent: rest.map((one) => one[0].toUpperCase() + one.slice(1)).join(". ") }));
  });
  return made("div", { className: "warnings" }, ...boxes);
}

function list(answer, cards) {
  const order = answer.people.map((_, index) => index)
    .sort((one, other) => ORDER[answer.people[one].verdict] - ORDER[answer.people[other].verdict] || one - other);
  const sorted = order.map((index) => cards[index]);
  for (const card of sorted.slice(SHOWN)) card.hidden = true;
  const all = made("ol", { className: cards.length > 1 ? "people" : "people alone" }, ...sorted);
  if (cards.length <= SHOWN) return all;
  const more = button(`Show all ${cards.length}`, () => {
    for (const card of cards) card.hidden = false;
    more.remove();
    sorted[SHOWN].focus();
  });
  return made("div", {}, all, more);
}

function button(text, act) {
  const element = made("button", { type: "button", textContent: text });
  element.addEventListener("click", act);
  return element;
}
