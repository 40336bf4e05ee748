"""What the code host reads: workflows, templates and the citation, as text. Nothing of it is run here."""

import re
from pathlib import Path

import pytest
import yaml

import fsfm_jax

ROOT = Path(__file__).parents[1]
HOST = ROOT / ".github"
FILES = sorted([*HOST.rglob("*.yml"), *HOST.rglob("*.yaml"), ROOT / "CITATION.cff"])
WORKFLOWS = sorted((HOST / "workflows").iterdir())
USED = re.compile(r"^\s*(?:- )?uses: ([\w./-]+)@([0-9a-f]{40}) # (v[0-9]+\.[0-9]+\.[0-9]+)$")
# Text of strangers, which must not become a part of a command.
INJECTED = re.compile(r"\$\{\{\s*(github\.(event|head_ref)|inputs)")


def complaints(text: str) -> list[str]:
    """What is wrong with a workflow."""
    found = [
        f"{line.strip()}: no commit with its tag beside it"
        for line in text.splitlines() if "uses:" in line and not USED.match(line)
    ]  # fmt: skip
    workflow = yaml.safe_load(text)
    if "pull_request_target" in (workflow[True] or {}):  # `on` is a truth value to YAML 1.1
        found.append("pull_request_target: runs code of strangers with a token that may write")
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("permissions: more than reading the repository")
    for name, job in workflow["jobs"].items():
        if "timeout-minutes" not in job:
            found.append(f"{name}: no limit of time")
        for step in job["steps"]:
            if INJECTED.search(step.get("run", "")):
                found.append(f"{name}: text of strangers in a command")
            checks_out = step.get("uses", "").startswith("actions/checkout@")
            if checks_out and step.get("with", {}).get("persist-credentials") is not False:
                found.append(f"{name}: the token stays in the checkout")
            if "secrets." in str(step):
                found.append(f"{name}: a kept secret")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_yaml_without_repeated_keys(path):
    node = yaml.compose(path.read_text(encoding="utf-8"))
    todo = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, yaml.MappingNode):
            keys = [key.value for key, _ in one.value]
            assert len({*keys}) == len(keys), f"{path.name}: {keys}"
            todo += [value for _, value in one.value]
        elif isinstance(one, yaml.SequenceNode):
            todo += one.value
    assert isinstance(node, yaml.MappingNode)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_names_commits_and_may_not_do_more_than_it_says(path):
    assert complaints(path.read_text(encoding="utf-8")) == []


def test_one_tag_has_one_commit_and_the_tests_run_where_the_package_says():
    lines = [line for path in WORKFLOWS for line in path.read_text().splitlines()]
    used: dict[str, set] = {}
    for match in filter(None, map(USED.match, lines)):
        used.setdefault("/".join(match[1].split("/")[:2]), set()).add((match[2], match[3]))
    assert len(used) >= 5 and all(len(commits) == 1 for commits in used.values()), used
    test = yaml.safe_load((HOST / "workflows" / "ci.yml").read_text())["jobs"]["test"]
    named = re.findall(r'Programming Language :: Python :: ([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    assert test["strategy"]["matrix"]["python"] == named
    assert [step["run"] for step in test["steps"] if "run" in step] == [".ci/run"]


GOOD = """
on: {pull_request: null}
permissions: {contents: read}
jobs:
  a:
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@0123456789012345678901234567890123456789 # v5.0.0
        with: {persist-credentials: false}
      - run: make test
"""


@pytest.mark.parametrize(("old", "new", "complaint"), [
        ("", "", None),
        ("@0123456789012345678901234567890123456789 # v5.0.0", "@v5", "no commit with its tag beside it"),
        (" # v5.0.0", "", "no commit with its tag beside it"),
        ("0123456789 # v5.0.0", "012345678 # v5.0.0", "no commit with its tag beside it"),
        ("pull_request:", "pull_request_target:", "runs code of strangers"),
        ("{contents: read}", "write-all", "more than reading"),
        ("permissions: {contents: read}\n", "", "more than reading"),
        ("    timeout-minutes: 5\n", "", "a: no limit of time"),
        ("make test", "echo ${{ github.event.issue.title }}", "a: text of strangers in a command"),
        ("{persist-credentials: false}", "{fetch-depth: 0}", "a: the token stays in the checkout"),
        ("run: make test", "run: make test TOKEN=${{ secrets.PYPI }}", "a: a kept secret"),
    ])  # fmt: skip
def test_each_rule_catches_what_it_is_for(old, new, complaint):
    assert old in GOOD
    found = complaints(GOOD.replace(old, new) if old else GOOD)
    assert found == [] if complaint is None else any(complaint in one for one in found), found


def test_publishing_has_a_job_of_its_own_that_gets_the_wheel_and_may_do_nothing_else():
    jobs = yaml.safe_load((HOST / "workflows" / "publish.yml").read_text())["jobs"]
    assert "permissions" not in jobs["build"]
    publish = jobs["publish"]
    assert publish["permissions"] == {"id-token": "write"} and publish["environment"] == "release"
    assert [step["uses"].split("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact", "pypa/gh-action-pypi-publish",
    ]  # fmt: skip
    assert publish["steps"][-1]["with"] == {"packages-dir": "dist", "attestations": True}
    # What is built is what the targets of make write.
    make = (ROOT / "Makefile").read_text()
    for step in jobs["build"]["steps"]:
        if "run" in step:
            assert re.search(rf"(?m)^{step['run'].removeprefix('make ')}:", make), step["run"]


def test_the_citation_is_that_of_the_page_and_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["cff-version"], cited["version"]) == ("1.2.0", fsfm_jax.__version__)
    page = (ROOT / "docs" / "citing.md").read_text()
    entries = re.findall(r"@\w+\{.*?\n\}", page, re.DOTALL)
    assert len(entries) == len(cited["references"]) == 2
    for entry, reference in zip(entries, cited["references"], strict=True):
        field = dict(re.findall(r"(\w+) += \{(.*)\}", entry))
        assert reference["title"] == field["title"].replace("{", "").replace("}", "")
        names = [f"{one['family-names']}, {one['given-names']}" for one in reference["authors"]]
        assert (" and ".join(names), str(reference["year"])) == (field["author"], field["year"])
    assert "arXiv:2510.10663" in page and cited["references"][1]["identifiers"][0]["value"] == "arXiv:2510.10663"
