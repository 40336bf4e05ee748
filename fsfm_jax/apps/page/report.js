// What can be taken along: everything as JSON, or a page without scripts that can be printed.
import { made, plain } from "./element.js";
import { HEAT, drawScore, facts, kindOf, personFacts, scoreText } from "./person.js";
import { boxOf, firstPreview, place } from "./preview.js";
import { decided, fileFacts, peopleTitle, verdict, warnings } from "./result.js";
import { drawTimeline, legend } from "./timeline.js";

const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
const WIDTH = 640; // of a timeline

export function saveData(entry, about) {
  const { report, sha256, bytes, choice } = entry.answer, [file] = report.files;
  const content = { program: `fsfm_jax ${about.version}`, weights_sha256: about.weights_sha256,
    checked: entry.checked.toISOString(), choice, ...report,
    files: [{ file: entry.name, sha256, bytes, modified: entry.modified?.toISOString() ?? null, ...file }] };
  save(`${entry.name}.json`, "application/json", JSON.stringify(content, null, 1));
}

export async function saveReport(entry, about) {
  const style = await (await fetch("report.css")).text(); // inside the report, which nothing of this server can reach
  const parts = [
    made("meta", { httpEquiv: "Content-Security-Policy", content: POLICY }),
    made("meta", { name: "viewport", content: "width=device-width" }),
    made("title", { textContent: `Face check of ${plain(entry.name)}` }),
  ].map((one) => one.outerHTML).join("\n");
  const body = made("body", {}, ...content(entry, about)).outerHTML;
  const head = `<head>\n<meta charset="utf-8">\n${parts}\n<style>\n${style}</style>\n</head>`;
  save(`${entry.name}.html`, "text/html", `<!doctype html>\n<html lang="en">\n${head}\n${body}\n</html>\n`);
}

function* content(entry, about) {
  const { answer } = entry;
  yield made("h1", {}, made("bdi", { textContent: plain(entry.name) }));
  yield verdict(answer);
  yield warnings(answer, true);
  yield facts(fileFacts(entry, about));
  yield picture(answer, plain(entry.name));
  yield made("h2", { textContent: peopleTitle(answer) });
  if (answer.people.some((person) => person.heat)) yield made("p", { textContent: `Beside each face is its heat map. ${HEAT}` });
  for (const [index, person] of answer.people.entries()) yield personPart(answer, person, index);
  yield made("h2", { textContent: "How this was decided" });
  yield made("ul", {}, ...decided(answer, entry.choice).map((text) => made("li", { textContent: text })));
  yield facts([["Weights, SHA-256", made("code", { textContent: about.weights_sha256 })]]);
}

function picture(answer, name) {
  const shown = firstPreview(answer);
  const boxes = answer.faces.filter((face) => face.frame === shown.frame).map((face) =>
    boxOf(face, shown, made("div", { className: "box" }, made("span", { textContent: face.person + 1 }))));
  return made("figure", {}, made("div", { className: "frame" }, made("img", { src: shown.picture, alt: name }), ...boxes),
    ...(answer.kind === "video" ? [made("figcaption", { textContent: `The video at ${place(shown)}` })] : []));
}

function personPart(answer, person, index) {
  const part = made("section", { className: `person ${kindOf(person.verdict)}` },
    made("h3", { textContent: `${answer.kind === "video" ? "Person" : "Face"} ${index + 1}` }),
    made("p", { textContent: `${person.says} ${person.why}` }), drawScore(person.score, answer.threshold),
    made("p", { textContent: scoreText(person.score, answer.threshold) }),
    made("div", { className: "pictures" }, ...[person.picture, person.heat].filter(Boolean).map((source, number) =>
      made("img", { src: source, alt: number ? "Heat map" : "Face" }))));
  if (answer.kind === "video") part.append(made("figure", {}, drawTimeline(answer, index, WIDTH),
    made("figcaption", { textContent: legend(answer) })));
  part.append(facts(personFacts(answer, person, index + 1)));
  return part;
}

function save(name, type, text) {
  const link = made("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
