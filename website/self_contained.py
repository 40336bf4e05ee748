"""Check that the built pages ask no other host for anything: no fonts, scripts, pictures or analytics from elsewhere.

    python -m website.self_contained site/html

Links that a reader clicks may lead anywhere.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
# `url(...)` and `@import` of style sheets.
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
CLICKED = {("a", "href"), ("area", "href"), ("form", "action")}
# Links that only name an address.
NAMES = {"canonical", "license", "author", "alternate"}
ASKS = ("src", "href", "srcset", "data", "poster", "action")


class Page(HTMLParser):
    """A collector of requests that a browser would send to other hosts for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and {*values.get("rel", "").split()} <= NAMES:
            return
        fetched = [values[name] for name in ASKS if name in values and (tag, name) not in CLICKED]
        self.found += [value.strip() for value in fetched if ELSEWHERE.match(value)]
        self.found += IN_STYLE.findall(values.get("style", ""))
        if "mermaid" in values.get("class", "").split():  # the theme's script would load a drawing program
            self.found.append("mermaid")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            self.found += IN_STYLE.findall(data)


def find_requests(folder: Path) -> list[str]:
    """Return what the pages and style sheets below `folder` would fetch elsewhere, as "FILE: ADDRESS"."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix == ".html":
            page = Page()
            page.feed(path.read_text(encoding="utf-8"))
            found += [f"{name}: {address}" for address in page.found]
        elif path.suffix == ".css":
            found += [f"{name}: {address}" for address in IN_STYLE.findall(path.read_text(encoding="utf-8"))]
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    found = find_requests(folder)
    if found or not (folder / "index.html").is_file():
        sys.exit("\n".join(["error: expected pages that ask no other host, found:", *(found or ["no pages"])]))
    print(f"{folder}: no page asks another host for anything")


if __name__ == "__main__":
    main()
