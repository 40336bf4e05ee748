"""Plain words: texts that people read have none of the turns of phrase that they would have to translate."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Others' words, or made by a program from what it is given.
FOREIGN = {"CHANGELOG.md", "docs/licences.md", "fsfm_jax/data/samples/LICENSES.md", "fsfm_jax/weights/small/README.md"}
BANNED = {
    r"\bof (ours|strangers)\b": "say whose, such as: of fsfm_jax, untrusted",
    r"\bcomes? to nothing\b": "fail",
    r"\b(go(es)?|gone|went) on with\b": "resume, continue",
    r"\bmend(s|ed)?\b": "fix",
    r"\bnarrat": "log",
    r"\bleaves? for good\b": "diverge",
    r", too[.,;)]": "also",
    r"\blook(s|ed) at\b": "use, read, evaluate, inspect",
    r"(?<![`.\w])beside\b(?![`:(])": "next to, besides",
    r"\bwhat limits\b": "the bottleneck",
    r"\bwho(m)?ever\b": "anyone who",
    r"(^|[.:;!?] )Of (?!course)": "begin with the subject",
    r"\b(is|are) told\b": "gets, is notified, is reported",
    r"\b(lies?|lay) (next to|beside|there)\b": "is",
}
# A docstring of a function begins with what it does. These begin something else.
NO_VERB = {*"A All An At By For How Its No Of On The This What When Where Whether Which Who Why With".split()}
PAGES = [path for place in ("*.md", "docs/*.md", "fsfm_jax/**/*.md", "tests/**/*.md") for path in ROOT.glob(place)]
MODULES = sorted(path for folder in ("fsfm_jax", "configs") for path in (ROOT / folder).rglob("*.py"))


def found_in(text: str) -> list[str]:
    """Every banned turn in a text, with the words around it and what to say."""
    return [
        f"{text[max(0, match.start() - 30) : match.end() + 30]!r}: say {say!r}"
        for turn, say in BANNED.items() for match in re.finditer(turn, text)
    ]  # fmt: skip


def texts_of(source: str) -> list[str]:
    """Docstrings, messages and helps of a module: its strings with a space in them, joined as Python joins them."""
    return [
        " ".join(node.value.split()) for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()
    ]  # fmt: skip


def test_pages_are_in_plain_words():
    pages = {str(path.relative_to(ROOT)): path.read_text() for path in PAGES}
    assert len(pages.keys() - FOREIGN) > 30
    assert {name: found for name, text in pages.items() if name not in FOREIGN and (found := found_in(text))} == {}


def test_docstrings_messages_and_helps_are_in_plain_words():
    assert len(MODULES) > 300
    texts = {str(path.relative_to(ROOT)): texts_of(path.read_text()) for path in MODULES}
    found = {name: [turn for text in some for turn in found_in(text)] for name, some in texts.items()}
    assert {name: turns for name, turns in found.items() if turns} == {}


def names_of(source: str) -> list[str]:
    """Functions of a module whose docstrings do not begin with what they do."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    functions = [node for node in nodes if not any("property" in ast.unparse(each) for each in node.decorator_list)]
    first = {node.name: (ast.get_docstring(node) or "Has").split()[0] for node in functions}
    return [name for name, word in first.items() if word in NO_VERB or word[0] == "`"]


def test_docstrings_of_functions_begin_with_what_they_do():
    found = {str(path.relative_to(ROOT)): names_of(path.read_text()) for path in MODULES}
    assert {name: functions for name, functions in found.items() if functions} == {}
    assert names_of('def f():\n    """The number."""\n@property\ndef g(x):\n    """The number."""') == ["f"]


@pytest.mark.parametrize(
    ("text", "say"),
    [("It is looked at.", "inspect"), ("A file of strangers", "untrusted"), ("Of each row the sum", "subject"),
     ("one. Of two", "subject"), ("This one, too.", "also"), ("the JSON beside it", "next to")],
)  # fmt: skip
def test_the_rule_finds_what_it_is_for(text, say):
    assert say in found_in(text)[0] and not found_in("Read the JSON next to it. Of course, this is fine; two lookups.")
