"""Stage the pages of the documentation site in a folder, from which `make docs` builds it.

    python -m website.pages site

Pages of docs/ become pages of the same name, README.md the first page. A file outside docs/ that a page links to
becomes a page below source/, with its text as it is, so that every link works without a code host. Generated pages of
the reference and the notebook, as a page with its pictures, are added. Nothing of it is committed.
"""

import base64
import json
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

from website import reference

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
HOME, NOTEBOOK = "README.md", "docs/quickstart.ipynb"
STARTS = (HOME, NOTEBOOK, "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")  # pages beside those of docs/
PAGES = "docs"  # of the staging folder, and of the checkout
# A fenced block or inline code, which are passed over, or the target of a link.
LINK = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)|(?<=\]\()([^)\s]+)(?=\))", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
PICTURES = {"image/png": ".png", "image/jpeg": ".jpg"}
LEXERS = {".py": "python", ".json": "json", ".toml": "toml", ".js": "js", ".sh": "bash", ".yml": "yaml"}


def staged_name(path: str) -> str:
    """Return the name of the page or picture that a file of the checkout becomes; both relative, with slashes."""
    if path == HOME:
        return "index.md"
    name = path.removeprefix(f"{PAGES}/") if path.startswith(f"{PAGES}/") else f"source/{path}"
    if name.endswith(".ipynb"):
        return name.removesuffix(".ipynb") + ".md"
    return name if name.endswith((".md", ".png", ".jpg")) else f"{name}.md"


def relative(target: str, page: str) -> str:
    """Return `target` as a link from `page`, both staged names."""
    up = len(PurePosixPath(page).parent.parts)
    return "../" * up + target


def rewrite(text: str, path: str) -> tuple[str, set[str]]:
    """Turn the links of a Markdown file into those of its staged page.

    Args:
      text: of the file.
      path: of the file, relative to the checkout.

    Returns:
      The text, and the files of the checkout that it links to.

    Raises:
      ValueError: a link to something that is no file of the checkout.
    """
    linked = set()

    def turned(match: re.Match) -> str:
        code, target = match.groups()
        if code or "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        name, mark, anchor = target.partition("#")
        there = (ROOT / path).parent.joinpath(name).resolve()
        if not there.is_file() or ROOT not in there.parents:
            raise ValueError(f"{path}: expected links to files of the repository, found {target}; correct the link")
        file = there.relative_to(ROOT).as_posix()
        linked.add(file)
        return relative(staged_name(file), staged_name(path)) + mark + anchor

    return LINK.sub(turned, text), linked


def indent_lists(text: str) -> str:
    """Indent what is inside of list items by four spaces, as Python-Markdown asks; code hosts take two or three."""
    parts = FENCED.split(text)
    return "".join(part if n % 2 else re.sub(r"(?m)^ {2,3}(?=\S)", "    ", part) for n, part in enumerate(parts))


def read_page(path: str) -> tuple[str, set[str]]:
    """Return a text file of the checkout as Markdown, with the files that it links to; what is no Markdown, as code."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return rewrite(indent_lists(text), path)
    lexer = LEXERS.get(Path(path).suffix, "text")
    return f"# {PurePosixPath(path).name}\n\n`{path}`\n\n````{lexer}\n{text}\n````\n", set()


def read_notebook(path: str) -> tuple[str, set[str], dict[str, bytes]]:
    """Return a notebook as Markdown, the files that it links to, and the pictures of its outputs by their names."""
    parts, linked, pictures = [], set(), {}
    for cell in json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            source, found = rewrite(indent_lists(source), path)
            linked |= found
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            for kind, suffix in PICTURES.items():
                if kind in output.get("data", {}):
                    name = f"{Path(path).stem}_{len(pictures) + 1}{suffix}"
                    pictures[name] = base64.b64decode("".join(output["data"][kind]))
                    parts.append(f"![What the cell above shows]({name})")
    return "\n\n".join(parts) + "\n", linked, pictures


def stage(folder: Path) -> list[str]:
    """Write all pages to `folder`, which is made anew; return their names.

    Raises:
      ValueError: a broken link.
    """
    shutil.rmtree(folder, ignore_errors=True)
    todo = [*STARTS, *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / PAGES).glob("*.md")))]
    done: dict[str, None] = {}
    while todo:
        path = todo.pop(0)
        if path in done:
            continue
        done[path] = None
        place = folder / PAGES / staged_name(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix != ".md":
            shutil.copyfile(ROOT / path, place)
            continue
        pictures: dict[str, bytes] = {}
        if path.endswith(".ipynb"):
            text, linked, pictures = read_notebook(path)
        else:
            text, linked = read_page(path)
        todo += sorted(linked)
        for name, picture in pictures.items():
            place.with_name(name).write_bytes(picture)
        place.write_text(text, encoding="utf-8")
    for name, text in reference.make_pages().items():
        place = folder / PAGES / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    for name in ("style.css", "iframe-worker.js"):
        shutil.copyfile(HERE / name, folder / PAGES / name)
    shutil.copyfile(HERE / "zensical.toml", folder / "zensical.toml")
    return [*map(staged_name, done)]


if __name__ == "__main__":
    print(len(stage(Path(sys.argv[1]))), "pages and pictures")
