"""The pages of the site: where each stands, what their links become, and that none asks another host."""

import re
import tomllib
from pathlib import Path

import pytest

from fsfm_jax.config.fields import flat
from website import pages, reference, self_contained

ROOT = Path(__file__).parents[1]


def entries(nav: list) -> list[str]:
    """The pages of a navigation, in its order."""
    found = []
    for entry in nav:
        for value in entry.values():
            found += [value] if isinstance(value, str) else entries(value)
    return found


def test_every_page_is_in_the_navigation_once_and_every_entry_is_a_page():
    listed = entries(tomllib.loads((ROOT / "website" / "zensical.toml").read_text())["project"]["nav"])
    files = [*(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")), *pages.STARTS]
    made = [*(f"reference/config-{job}.md" for job in reference.JOBS), "reference/cli.md", "reference/python.md"]
    assert sorted(listed) == sorted([*map(pages.staged_name, files), *made])


@pytest.mark.parametrize("job", reference.JOBS)
def test_every_field_is_in_the_reference_with_its_default_and_a_help(job):
    page = reference.config_page(job)
    rows = dict(re.findall(r"(?m)^\| `([\w.]+)` \| (.+ \| .+) \|$", page))
    fields = flat(reference.JOBS[job]())
    assert rows.keys() == fields.keys()
    assert rows["job"] == f'`"{job}"` | Which job this is a configuration of.'


def test_a_help_is_the_comment_above_and_behind_with_the_range_and_of_another_job_where_there_is_none():
    page = reference.config_page("finetune")
    assert '| `augment.erase` | `0.25` | Probability of random erasing. At least 0 and at most 1. |' in page
    assert '| `tuning.method` | `"full"` | What is trained: "full"; or with a frozen encoder "fs_adapter" or' in page
    # Those of functions that several jobs call, and that of the pretraining.
    assert "| `report.selective.risk` | `0.05` | Share of wrong verdicts" in page
    assert "| `data.workers` | `0` | Loader processes; 0: threads of the training process. At least 0. |" in page
    with pytest.raises(ValueError, match="nothing of pretrain: expected a comment on it .*, found none"):
        reference.help_of("pretrain", "nothing")


@pytest.mark.parametrize(("path", "text", "expected"), [
        ("docs/a.md", "[a](faq.md) [b](faq.md#install) [c](#here) [d](https://e.org/f.md)", None),
        ("docs/a.md", "[a](../README.md#install)", "[a](index.md#install)"),
        ("docs/a.md", "[`a`](../configs/study.py)", "[`a`](source/configs/study.py.md)"),
        ("docs/a.md", "![a](study.png) [b](quickstart.ipynb)", "![a](study.png) [b](quickstart.md)"),
        ("README.md", "[a](docs/faq.md) [b](LICENSE)", "[a](faq.md) [b](source/LICENSE.md)"),
        ("SECURITY.md", "[a](docs/faq.md#data) [b](CHANGELOG.md)", "[a](../faq.md#data) [b](../source/CHANGELOG.md)"),
        ("docs/a.md", "`[a](none.md)`\n```\n[b](none.md)\n```\n", None),
    ])  # fmt: skip
def test_links_become_those_of_the_site(path, text, expected):
    assert pages.rewrite(text, path)[0] == (expected or text)


@pytest.mark.parametrize("target", ["none.md", "../configs", "../../outside.md"])
def test_a_link_to_no_file_of_the_repository_is_refused(target):
    with pytest.raises(ValueError, match=rf"docs/a.md: expected links to files.*found {re.escape(target)};"):
        pages.rewrite(f"[a]({target})", "docs/a.md")


def test_lists_are_indented_as_the_renderer_asks_and_code_is_not():
    text = "- a\n  - b\n   more\n```\n  - c\n```\n    d\n"
    assert pages.indent_lists(text) == "- a\n    - b\n    more\n```\n  - c\n```\n    d\n"


def test_the_notebook_becomes_a_page_with_its_pictures():
    text, linked, pictures = pages.read_notebook(pages.NOTEBOOK)
    assert text.startswith("# fsfm_jax in ten minutes") and "```python\nimport importlib.util" in text
    assert len(pictures) == 5 and all(f"({name})" in text for name in pictures)
    assert pictures["quickstart_5.png"].startswith(b"\x89PNG") and "docs/masking.md" in linked
    assert "hidden patches of 196: [147 147 147 147]" in text


@pytest.mark.parametrize(("html", "found"), [
        ('<a href="https://a.org">a</a><link rel="canonical" href="https://a.org"><img src="a.png">', []),
        ('<script src="https://a.org/a.js"></script>', ["https://a.org/a.js"]),
        ('<link rel="stylesheet" href="//a.org/a.css">', ["//a.org/a.css"]),
        ('<link rel="preconnect" href="https://a.org">', ["https://a.org"]),
        ('<img srcset="https://a.org/a.png 2x">', ["https://a.org/a.png 2x"]),
        ('<p style="background: url(https://a.org/a.png)">', ["https://a.org/a.png"]),
        ("<style>@import 'https://a.org/a.css';</style>", ["https://a.org/a.css"]),
        ('<pre class="mermaid">', ["mermaid"]),
    ])  # fmt: skip
def test_a_page_that_would_ask_another_host_is_found(tmp_path, html, found):
    (tmp_path / "index.html").write_text(html)
    (tmp_path / "a.css").write_text("a { background: url(data:image/svg+xml;utf8,<svg>) }")
    assert self_contained.find_requests(tmp_path) == [f"index.html: {address}" for address in found]
    (tmp_path / "a.css").write_text("a { background: url('https://b.org/b.woff2') }")
    assert self_contained.find_requests(tmp_path)[0] == "a.css: https://b.org/b.woff2"
