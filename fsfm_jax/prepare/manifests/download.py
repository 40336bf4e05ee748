"""Check the folder that a data set was downloaded to, and collect what is missing."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from fsfm_jax.prepare.manifests.listing import entries, is_folder
from fsfm_jax.prepare.manifests.manifest import Request, Walk, WrongDownload
from fsfm_jax.text import join_first, plain, utf8

LEVELS = 3  # levels above --input that are searched for the right folder


class Download:
    """The root of a download, with a list of its shortfalls."""

    def __init__(
        self,
        request: Request,
        name: str,
        layout: str,
        needed: tuple[str, ...] = (),
        any_of: tuple[str, ...] = (),
    ):
        """Check that the folder exists and is the expected data set.

        Args:
          needed: paths below the root that must all exist.
          any_of: paths below the root, of which one must exist.

        Raises:
          WrongDownload: the folder does not exist or is another data set.
        """
        self.root = request.root
        self.variant = request.variant
        self.shortfalls: list[str] = []
        self._name, self._layout = name, layout
        if not self.root.is_dir():
            found = "a file" if self.root.exists() else "nothing"
            raise WrongDownload(
                f"--input={self.root}: expected the folder of {name}, found {found} there\n{self._describe_layout()}"
            )
        missing = [path for path in needed if not (self.root / path).exists()]
        if missing:
            raise self.wrong(f"it has no {', '.join(missing)}", self._level(needed, all))
        if any_of and not any((self.root / path).exists() for path in any_of):
            raise self.wrong(f"it has none of {', '.join(any_of)}", self._level(any_of, any))

    def wrong(self, problem: str, hint: str = "") -> WrongDownload:
        """Return the error that this folder is not the data set, with the expected layout and the content found."""
        names = [plain(utf8(entry.name)) + ("/" if is_folder(entry) else "") for entry in entries(self.root)]
        found = join_first(names) if names else "nothing"
        return WrongDownload(
            f"{self.root} is not {self._name}: {problem}\n{self._describe_layout()}\nfound: {found}"
            + (f"\n{hint}" if hint else "")
        )

    def count(self, what: str, expected: int | None, found: int, missing: Iterable[str] = ()) -> None:
        """Note a shortfall if fewer than `expected` were found (None: unknown); `missing` are their names."""
        if expected is not None and found < expected:
            names = list(missing)
            self.shortfalls.append(
                f"{what}: expected {expected}, found {found}" + (f"; missing: {join_first(names)}" if names else "")
            )

    def missing(self, what: str, expected: int, names: list[str]) -> None:
        """Note a shortfall if `names`, out of `expected`, are listed but do not exist."""
        self.count(what, expected, expected - len(names), names)

    def left_out(self, what: str, names: list[str]) -> None:
        """Note files that exist but cannot be used."""
        if names:
            self.shortfalls.append(f"{len(names)} left out, {what}: {join_first(names)}")

    def walk(self, splits: dict, class_names: tuple[str, ...] = (), real: int | None = None) -> Walk:
        """Return the walk over `splits`, with the shortfalls collected so far."""
        return Walk(splits, class_names, real, tuple(self.shortfalls))

    def _describe_layout(self) -> str:
        return "expected:\n" + "\n".join(f"  {line}" for line in self._layout.splitlines())

    def _level(self, paths: tuple[str, ...], how: Callable[[Iterable[bool]], bool]) -> str:
        """Return a hint if a folder below or above --input is the expected one."""

        def is_meant(folder: Path) -> bool:
            return how(os.path.exists(folder / path) for path in paths)

        inside = [entry.name for entry in entries(self.root) if is_folder(entry) and is_meant(self.root / entry.name)]
        if inside:
            return f"--input points one level too high: use {self.root / inside[0]}"
        root = self.root.absolute()
        for level, above in enumerate(list(root.parents)[:LEVELS], start=1):
            if is_meant(above):
                return f"--input points {level} level{'s' if level > 1 else ''} too deep: use {above}"
        return ""


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read number and text of the non-blank lines of a list.

    Raises:
      WrongDownload: the list is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongDownload(f"{path}: expected a list in UTF-8, found other bytes ({error}); convert it") from error
    numbered = enumerate((line.strip() for line in text.split("\n")), start=1)
    return [(number, line) for number, line in numbered if line]


def path_inside(path: str, where: str) -> str:
    """Return a path of a list after checking that it stays below the root.

    Raises:
      WrongDownload: the path is absolute or leaves the root by `..`; `where` is in the message.
    """
    if path.startswith(("/", "\\")) or path[1:2] == ":" or ".." in path.replace("\\", "/").split("/"):
        raise WrongDownload(f"{where}: expected a path below --input without .., found {path!r}; make it relative")
    return path
