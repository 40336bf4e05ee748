// The card of one person: the verdict, the score beside the threshold, its course, and on demand everything else.
import { decimal, drawn, made } from "./element.js";
import { drawTimeline, legend } from "./timeline.js";

export const HEAT = "Colours show which parts of this picture speak for a forgery, scaled to their own largest value: bright "
  + "spots appear in a clearly real face as well, and they need not lie where something was changed.";
const NO_HEAT = { true: "Heat maps are drawn for the eight people that look most forged.",
  false: "A serialized detector has no heat maps." };

export const kindOf = (verdict) => verdict || "none";

export function scoreText(score, threshold) {
  const rule = threshold === null ? "" : `; called forged below ${decimal(threshold)}`;
  return `Score ${decimal(score)} from 0, forged, to 1, real${rule}`;
}

export function drawScore(score, threshold) {
  const svg = drawn("svg", { class: "score", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", scoreText(score, threshold));
  svg.append(drawn("rect", { class: "scale", width: 100, height: 4, y: 3 }));
  if (threshold !== null) svg.append(drawn("rect", { class: "zone", width: 100 * Math.min(threshold, 1), height: 4, y: 3 }));
  svg.append(drawn("rect", { class: "mark", x: Math.min(100 * score, 99), width: 1, height: 10 }));
  return svg;
}

export function personFacts(answer, person, number) {
  const face = answer.faces[person.shown], [left, top, right, bottom] = face.box;
  return [
    ["Score", `${decimal(person.score, 4)} (probability of being real, as the network says it)`],
    ["Calibrated", person.calibrated === null ? "not calibrated" : decimal(person.calibrated, 4)],
    ...Object.entries(person.classes).map(([name, value]) => [name.replaceAll("_", " "), decimal(value, 4)]),
    ...(answer.kind === "video" ? [["Seen in", `${person.frames} of ${answer.frames} frames`]] : []),
    ["Face shown", `${left}, ${top} to ${right}, ${bottom}` + (answer.kind === "video" ? ` in frame ${face.frame}` : "")],
    ["Face finder", person.confidence === null ? "not used" : `confidence ${decimal(person.confidence)}`],
  ];
}

export const facts = (rows) =>
  made("dl", {}, ...rows.flatMap(([term, value]) => [made("dt", { textContent: term }), made("dd", {}, value)]));

export function drawPerson(answer, index, { jump }) {
  const person = answer.people[index], number = index + 1, video = answer.kind === "video";
  const alone = answer.people.length === 1;
  const words = made("div", { className: "words" },
    made("h3", { textContent: video ? `Person ${number}` : `Face ${number}` }));
  if (!alone) words.append(made("p", { className: "says", textContent: person.says }));
  if (!alone && person.why) words.append(made("p", { textContent: person.why }));
  words.append(drawScore(person.score, answer.threshold),
    made("p", { className: "faint", textContent: scoreText(person.score, answer.threshold) }));
  const card = made("li", { className: `person ${kindOf(person.verdict)}`, id: `person-${number}`, tabIndex: -1 },
    made("div", { className: "top" },
      made("img", { src: person.picture, alt: `${video ? "Person" : "Face"} ${number}`, width: 112, height: 112 }), words));
  card.mark = () => {};
  if (video) card.append(course(answer, index, card, jump));
  card.append(more(answer, person, number));
  return card;
}

function course(answer, index, card, jump) {
  const figure = made("figure", { className: "course" },
    made("figcaption", { className: "faint", textContent: legend(answer) }));
  let now = null, width = 0;
  const observer = new ResizeObserver(([entry]) => {
    const wide = Math.floor(entry.contentRect.width);
    if (!wide || wide === width) return;
    width = wide;
    const svg = drawTimeline(answer, index, width);
    svg.addEventListener("click", (event) => jump(svg.placeOf(event.offsetX)));
    figure.querySelector("svg")?.remove();
    figure.prepend(svg);
    if (now !== null) svg.mark(now);
    card.mark = (value) => svg.mark(now = value);
  });
  card.mark = (value) => { now = value; };
  observer.observe(figure);
  return figure;
}

function more(answer, person, number) {
  const heat = person.heat
    ? [made("img", { src: person.heat, alt: `Heat map of face ${number}`, loading: "lazy" }),
      made("figcaption", { textContent: HEAT })]
    : [made("figcaption", { textContent: NO_HEAT[answer.explained] })];
  return made("details", {}, made("summary", { textContent: "Heat map and numbers" }),
    made("figure", { className: "heat" }, ...heat), facts(personFacts(answer, person, number)));
}
