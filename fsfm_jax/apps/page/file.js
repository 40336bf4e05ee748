// A row of the list of files: its name, how far it is, and what was found.
import { describe } from "./ask.js";
import { made, plain } from "./element.js";

export class Row {
  constructor(entry, { open, cancel, remove }) {
    this.thumbnail = made("img", { alt: "", className: "thumbnail", hidden: true });
    this.state = made("span", { className: "state" });
    this.button = made("button", { type: "button", className: "open" }, this.thumbnail,
      made("span", {}, made("bdi", { textContent: plain(entry.name) }), this.state));
    this.button.addEventListener("click", open);
    this.progress = made("progress", { max: 1, hidden: true, ariaLabel: `Progress of ${plain(entry.name)}` });
    this.end = made("button", { type: "button", className: "end" });
    this.end.addEventListener("click", () => (this.entry.busy ? cancel() : remove()));
    this.element = made("li", {}, this.button, this.end, this.progress);
    this.entry = entry;
    this.show();
  }

  show() {
    const { name, state, progress, answer, error, busy } = this.entry;
    this.state.textContent = state === "working" ? describe(progress)
      : { waiting: "Waiting", done: answer?.says, failed: `No verdict. ${error}`, cancelled: "Cancelled" }[state];
    this.element.className = state === "done" ? answer.verdict || "none" : state;
    this.progress.hidden = state !== "working";
    if (progress.of) this.progress.value = progress.done / progress.of;
    else this.progress.removeAttribute("value");
    this.end.textContent = busy ? "Cancel" : "Remove";
    this.end.ariaLabel = `${this.end.textContent} ${plain(name)}`;
    this.thumbnail.hidden = !answer?.previews.length;
    if (!this.thumbnail.hidden) this.thumbnail.src = answer.previews[0].picture;
  }

  choose(chosen) {
    if (chosen) this.button.setAttribute("aria-current", "true");
    else this.button.removeAttribute("aria-current");
  }
}
