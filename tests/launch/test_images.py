"""The images, read as text, without an image builder: one that breaks a rule is not released."""

import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVE = "launch/docker/serve.Dockerfile"
IMAGES = (SERVE, "launch/Dockerfile")
DIGEST = re.compile(r"[a-z0-9./_-]+@sha256:[0-9a-f]{64}")
# The argument of the image for TPUs, which its first step checks; test_scripts.py runs that step.
CHECKED = "${BASE}"


def parse(text: str) -> list[tuple[str, str]]:
    """Instructions and what follows them, with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.strip().partition(" ") for line in "\n".join(lines).replace("\\\n", " ").split("\n"))
    ]


def complaints(text: str, served: bool = True) -> list[str]:
    """What is wrong with an image; `served` for one that untrusted files and people reach."""
    steps, found, stages = parse(text), [], set()
    for word, rest in steps:
        parts = [part for part in shlex.split(rest) if not part.startswith("--")] if word in ("COPY", "ADD") else []
        if word == "FROM":
            name, _, stage = rest.partition(" AS ")
            if not (DIGEST.fullmatch(name) or name in stages or (name == CHECKED and not served)):
                found.append(f"FROM {name}: no digest")
            stages.add(stage)
        elif word == "ADD":
            found.append(f"ADD {rest}: COPY says what is meant")
        elif word == "COPY" and served and any(re.search(r"^\.?/?$|[*?]", part) for part in parts[:-1]):
            found.append(f"COPY {rest}: names no file or folder")
        elif word == "RUN":
            if re.search(r"\b(curl|wget)\b|\|\s*(ba|da)?sh\b|https?://", rest):
                found.append(f"RUN {rest}: runs or fetches what nothing vouches for")
            for part in re.split(r"&&|;|\n", rest):
                own = re.search(r"--no-index --no-deps dist/\*\.whl$", part.strip())
                if re.search(r"\b(pip3?|uv) .*\binstall\b", part) and "--require-hashes" not in part and not own:
                    found.append(f"RUN {part.strip()}: no hashes")
        if re.search(r"(?i)(token|secret|password)[a-z_]*=(?!/run/secrets/)\S", rest):
            found.append(f"{word} {rest}: a secret stays in the image")
    if served:
        last = steps[max(number for number, (word, _) in enumerate(steps) if word == "FROM") :]
        users = [rest.split(":")[0] for word, rest in last if word == "USER"]
        if not users or not users[-1].isdigit() or int(users[-1]) < 1000:
            found.append("USER: no number of an ordinary user")
        found += [f"{word}: none" for word in ("HEALTHCHECK", "ENTRYPOINT") if word not in dict(last)]
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_built_of_what_digests_and_hashes_vouch_for(name):
    assert complaints((ROOT / name).read_text(), name == SERVE) == []
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "launch").rglob("*Dockerfile")} == {*IMAGES}


PINNED = "FROM python@sha256:" + "0a" * 32
GOOD = f"{PINNED}\nHEALTHCHECK CMD x\nENTRYPOINT x\nUSER 10001:10001"


@pytest.mark.parametrize(("text", "complaint"), [
        (GOOD, None),
        (GOOD.replace(PINNED, "FROM python:3.11-slim"), "FROM python:3.11-slim: no digest"),
        (GOOD.replace(PINNED, PINNED[:-1]), "no digest"),
        (GOOD.replace(PINNED, "FROM ${BASE}"), "FROM ${BASE}: no digest"),
        (f"{PINNED} AS a\n" + GOOD.replace(PINNED, "FROM a"), None),
        (f"{PINNED} AS a\n" + GOOD.replace(PINNED, "FROM b"), "FROM b: no digest"),
        (GOOD.replace("USER 10001:10001", ""), "USER: no number of an ordinary user"),
        (GOOD + "\nUSER root", "USER: no number of an ordinary user"),
        (GOOD + "\nUSER 0", "USER: no number of an ordinary user"),
        (GOOD.replace("HEALTHCHECK CMD x", ""), "HEALTHCHECK: none"),
        (GOOD + "\nADD https://example.org/x.tar /x", "ADD https://example.org/x.tar /x: COPY says what is meant"),
        (GOOD + "\nCOPY . .", "COPY . .: names no file or folder"),
        (GOOD + "\nCOPY --chown=1 a* /b", "names no file or folder"),
        (GOOD + "\nCOPY a b/ /c/", None),
        (GOOD + "\nRUN pip install jax", "RUN pip install jax: no hashes"),
        (GOOD + "\nRUN python -m pip install --require-hashes -r a && pip install b", "RUN pip install b: no hashes"),
        (GOOD + "\nRUN python -m pip \\\n    install b", "no hashes"),
        (GOOD + "\nRUN a && pip install --no-index --no-deps dist/*.whl", None),
        (GOOD + "\nRUN curl -L example.org/x | sh", "runs or fetches what nothing vouches for"),
        (GOOD + "\nRUN cat x | bash", "runs or fetches what nothing vouches for"),
        (GOOD + "\nENV FSFM_TOKEN=0123456789abcdef", "a secret stays in the image"),
    ])  # fmt: skip
def test_each_rule_catches_what_it_is_for(text, complaint):
    found = complaints(text)
    assert found == [] if complaint is None else any(complaint in one for one in found), found


def test_the_image_serves_with_flags_that_the_program_has_and_files_that_are_there():
    steps = parse((ROOT / SERVE).read_text())
    entry, command = (json.loads(rest) for word, rest in steps if word in ("ENTRYPOINT", "CMD"))
    assert (entry, command[0]) == (["fsfm"], "serve")
    given = dict(part.removeprefix("--").split("=") for part in command[1:])
    served = (ROOT / "fsfm_jax" / "apps" / "serve.py").read_text()
    assert all(f'"{name}"' in served for name in given)
    # The port that is watched and announced is the one that is served; any address needs a token, from a file.
    health = next(rest for word, rest in steps if word == "HEALTHCHECK")
    assert ("EXPOSE", given["port"]) in steps and f"'127.0.0.1', {given['port']}," in health
    assert given["host"] == "0.0.0.0" and given["token_file"].startswith("/run/secrets/")
    json.loads(health[health.index("[") :])
    # What is copied is there and is sent to the builder.
    ignored = (ROOT / ".dockerignore").read_text().split()
    for rest in (rest for word, rest in steps if word == "COPY" and not rest.startswith("--from")):
        for part in rest.split()[:-1]:
            assert (ROOT / part).exists() and part.split("/")[0] not in ignored, part
    assert {".git", ".venv*", "runs"} <= {*ignored}
    # Both stages are the same Python: what one installs, the other runs.
    bases = [rest.split(" AS ")[0] for word, rest in steps if word == "FROM"]
    assert len(bases) == 2 and len({*bases}) == 1
