// The list of files that are checked, one at a time, each with the choice that was made when it was added.
import { ask } from "./ask.js";
import { at, plain } from "./element.js";
import { Row } from "./file.js";
import { showResult } from "./result.js";

const CANCELLED = { state: "cancelled", error: "The check was cancelled." };
const NOTHING = { stage: "wait", done: 0, of: 0 };

export class Files {
  constructor(about, choice) {
    this.about = about;
    this.choice = choice; // what is chosen now, or null while it is not valid
    this.entries = [];
    this.chosen = null;
    this.working = false;
  }

  add(files) {
    const choice = this.choice();
    if (!choice) return;
    for (const one of files) {
      const entry = { ...one, choice };
      entry.row = new Row(Object.assign(entry, { state: "waiting", progress: NOTHING, busy: true }), {
        open: () => this.open(entry),
        cancel: () => this.cancel(entry),
        remove: () => this.remove(entry),
      });
      this.entries.push(entry);
      at("files").append(entry.row.element);
      if (one === files[0]) this.open(entry);
    }
    this.arrange();
    this.work();
  }

  again(entry) {
    const choice = this.choice();
    if (!choice) return;
    Object.assign(entry, { choice, state: "waiting", progress: NOTHING, busy: true, answer: undefined });
    this.update(entry);
    this.work();
  }

  open(entry) {
    this.chosen = entry;
    for (const one of this.entries) one.row.choose(one === entry);
    this.show();
  }

  cancel(entry) {
    if (entry.stop) entry.stop.abort();
    else this.update(Object.assign(entry, CANCELLED, { busy: false }));
  }

  remove(entry) {
    const place = this.entries.indexOf(entry);
    this.entries.splice(place, 1);
    entry.row.element.remove();
    this.arrange();
    const next = this.entries[Math.min(place, this.entries.length - 1)];
    if (entry === this.chosen) this.open(next ?? null);
    (next ? next.row.button : at("file-detect")).focus();
  }

  arrange() {
    at("work").hidden = !this.entries.length;
    at("work").classList.toggle("several", this.entries.length > 1);
  }

  update(entry) {
    entry.row.show();
    if (entry === this.chosen) this.show();
  }

  show() {
    const entry = this.chosen;
    at("result").hidden = !entry || entry.busy;
    if (at("result").hidden) at("result").replaceChildren();
    else showResult(at("result"), entry, this.about, () => this.again(entry));
  }

  async work() {
    if (this.working) return;
    this.working = true;
    for (let entry; (entry = this.entries.find((one) => one.state === "waiting")); ) await this.check(entry);
    this.working = false;
  }

  async check(entry) {
    entry.stop = new AbortController();
    entry.state = "working";
    entry.row.show();
    const told = (progress) => {
      entry.progress = progress;
      entry.row.show();
    };
    try {
      if (entry.file.size > this.about.limit) {
        throw new Error(`The file is larger than ${Math.round(this.about.limit / 1e6)} MB, the most that this page takes.`);
      }
      entry.answer = await ask("api/detect", entry.file, { query: entry.choice, told, signal: entry.stop.signal });
      Object.assign(entry, { state: "done", checked: new Date() });
      at("status").textContent = `${plain(entry.name)}: ${entry.answer.says}`;
    } catch (error) {
      if (error.name === "AbortError") Object.assign(entry, CANCELLED);
      else Object.assign(entry, { state: "failed", error: error.message });
      at("status").textContent = `${plain(entry.name)}: ${entry.error}`;
    }
    Object.assign(entry, { busy: false, stop: null });
    this.update(entry);
  }
}
