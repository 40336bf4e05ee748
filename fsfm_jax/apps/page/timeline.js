// The score of a person along a video, drawn anew for each width so that its letters stay readable.
import { decimal, drawn } from "./element.js";
import { placed } from "./preview.js";

const HEIGHT = 132, LEFT = 30, RIGHT = 12, TOP = 10, BOTTOM = 24;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600];

// The sampled frames, with and without a face, as places in the video.
function framesOf(answer) {
  const frames = new Set([...answer.faces, ...answer.report.files[0].misses].map((one) => one.frame));
  return [...frames].sort((one, other) => one - other);
}

// Points of one person, {at, score} by sampled frame, null where the person is not seen.
function pointsOf(answer, person) {
  const own = new Map(answer.faces.filter((face) => face.person === person).map((face) => [face.frame, face]));
  return framesOf(answer).map((frame) => {
    const face = own.get(frame);
    return face ? { at: placed(face), score: face.score } : null;
  });
}

export const legend = (answer) => "Score along the video"
  + (answer.threshold === null ? "" : `; dashed: forged below ${decimal(answer.threshold)}`)
  + (answer.frames > 1 ? "; a gap is a frame without this person" : "");

export function drawTimeline(answer, person, width) {
  const points = pointsOf(answer, person), seen = points.filter(Boolean);
  const unit = answer.rate ? " s" : "", all = framesOf(answer).map((frame) => frame / (answer.rate ?? 1));
  const first = all[0], last = Math.max(all.at(-1), first + 1e-3);
  const x = (value) => LEFT + ((width - LEFT - RIGHT) * (value - first)) / (last - first);
  const y = (score) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - score);
  const svg = drawn("svg", { class: "timeline", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" });
  svg.setAttribute("aria-label", describe(answer, person, seen, unit));
  if (answer.threshold !== null) {
    const top = y(Math.min(Math.max(answer.threshold, 0), 1));
    svg.append(drawn("rect", { class: "zone", x: LEFT, width: width - LEFT - RIGHT, y: top, height: y(0) - top }));
  }
  for (const value of [0, 0.5, 1]) {
    svg.append(drawn("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      text(LEFT - 6, y(value) + 4, value, "end"));
  }
  const step = STEPS.find((one) => (last - first) / one <= Math.max(2, width / 110)) ?? (last - first) / 4;
  for (let tick = Math.ceil(first / step) * step; tick <= last + 1e-6; tick += step) {
    const middle = x(tick), end = middle > width - RIGHT - 18 ? "end" : "middle";
    svg.append(drawn("line", { class: "tick", x1: middle, x2: middle, y1: y(0), y2: y(0) + 4 }),
      text(end === "end" ? width - RIGHT : middle, HEIGHT - 6, `${Number(tick.toFixed(1))}${unit}`, end));
  }
  if (answer.threshold !== null && answer.threshold >= 0 && answer.threshold <= 1) {
    const level = y(answer.threshold);
    svg.append(drawn("line", { class: "threshold", x1: LEFT, x2: width - RIGHT, y1: level, y2: level }));
  }
  for (const run of runs(points)) {
    svg.append(drawn("polyline", { class: "course", points: run.map((one) => `${x(one.at)},${y(one.score)}`).join(" ") }));
  }
  const radius = seen.length > 64 ? 1.5 : 3;
  for (const one of seen) {
    const below = answer.threshold !== null && one.score < answer.threshold;
    svg.append(drawn("circle", { class: below ? "below" : "point", cx: x(one.at), cy: y(one.score), r: radius }));
  }
  const cursor = drawn("line", { class: "cursor", y1: TOP, y2: y(0), visibility: "hidden" });
  svg.append(cursor);
  svg.mark = (value) => {
    const middle = x(Math.min(Math.max(value, first), last));
    for (const [key, one] of [["x1", middle], ["x2", middle], ["visibility", "visible"]]) cursor.setAttribute(key, one);
  };
  svg.placeOf = (pixel) => first + ((last - first) * (pixel - LEFT)) / (width - LEFT - RIGHT);
  return svg;
}

const text = (x, y, content, anchor) => drawn("text", { x, y, "text-anchor": anchor }, String(content));

function runs(points) {
  const found = [[]];
  for (const one of points) {
    if (one) found.at(-1).push(one);
    else found.push([]);
  }
  return found.filter((run) => run.length > 1);
}

function describe(answer, person, seen, unit) {
  const least = seen.reduce((one, other) => (other.score < one.score ? other : one));
  const below = seen.filter((one) => answer.threshold !== null && one.score < answer.threshold).length;
  const where = unit ? `${decimal(least.at)} seconds` : `frame ${least.at}`;
  return `Score of person ${person + 1} along the video: lowest ${decimal(least.score)} at ${where}`
    + (answer.threshold === null ? "." : `; below the threshold in ${below} of ${seen.length} frames.`);
}
