"""Make the records of a data set: walk the download, plan, run the shards, finish.

The command line is `build`; it passes in the runner of the shards (local processes, or Apache Beam).
"""

import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

import fsfm_jax
from fsfm_jax import records
from fsfm_jax.data.statistics import Card
from fsfm_jax.prepare.crop import SCALE
from fsfm_jax.prepare.detect.detector import make_detector
from fsfm_jax.prepare.finish import finish
from fsfm_jax.prepare.manifests.manifest import DataSet, Request
from fsfm_jax.prepare.manifests.registry import find
from fsfm_jax.prepare.manifests.shares import cut, parse_shares
from fsfm_jax.prepare.manifests.survey import survey
from fsfm_jax.prepare.options import GIVEN, NONE, Options
from fsfm_jax.prepare.parse.parser import PARSERS, make_parser
from fsfm_jax.prepare.plan import FACES_PER_SHARD, differences, lay_down, make_plan, read_identity
from fsfm_jax.prepare.sampling import ALL, describe_spacing
from fsfm_jax.prepare.shard import ShardJob, ShardResult, read_progress
from fsfm_jax.prepare.workplace import claim, read_finished_card, start_over

DEFAULT_DETECTOR, DEFAULT_PARSER = "dlib", "embedded"
NATIVE = "native"
OWN = ("folder", "photos")  # data sets without a fixed layout
NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")
# Packages that the bytes of a record depend on.
LIBRARIES = (
    "ai-edge-litert", "av", "dlib-bin", "h5py", "numpy", "opencv-python-headless", "pi-heif", "pillow",
    "tensorflow-datasets",
)  # fmt: skip
# Fields of an identity that an upgrade changes.
PROGRAM_VERSIONS = ("project_version", "libraries")
Runner = Callable[[Sequence[ShardJob], Options, Callable[[], None]], None]


def build(
    dataset: str,
    root: Path,
    directory: Path,
    run: Runner,
    *,
    name: str = "",
    real: str = "",
    detector: str = "",
    parser: str = "",
    parser_weights: str = "",
    scale: float = SCALE,
    frames: str = "",
    image_size: str = "",
    image_encoding: str = "keep",
    shares: str = "",
    faces_per_shard: int = FACES_PER_SHARD,
    allow_incomplete: bool = False,
) -> Card:
    """Make or resume the data set in `directory`, and return its card.

    The flags of `build` describe the arguments; the data set chooses the value of an empty one ("").

    Raises:
      ValueError: the download is wrong or incomplete, settings are not compatible, or the folder is another run's.
      FileExistsError: `directory` holds something else, or is locked by another process.
      OSError: the disk is full, or a folder cannot be read or written.
    """
    spec, variant = find(dataset)
    name = _check_name(name, directory)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}; expected the download of {spec.name}:\n{spec.layout}")
    # Users' own folders hold anything; from others only files of their layout are taken.
    unread = survey(root, kinds=spec.name in OWN)
    if unread and not allow_incomplete:
        _refuse_incomplete(root, spec, unread)
    walk = spec.walk(Request(root, variant, real))
    if shares:
        walk = cut(walk, parse_shares(shares))
    shortfalls = (*walk.shortfalls, *unread)
    if shortfalls and not allow_incomplete:
        _refuse_incomplete(root, spec, shortfalls)
    options = _options(spec, walk.class_names, detector, parser, parser_weights, scale, image_size, image_encoding)
    sampling = _sampling(frames)
    identity = {
        "dataset": spec.name,
        "variant": variant,
        "name": name,
        "options": vars(options) | {"class_names": list(options.class_names)},
        "detector": NONE if options.detector == NONE else make_detector(options.detector).version,
        "parser": _parser_version(options),
        "frames": frames or "as the data set's rule says",
        "faces_per_shard": faces_per_shard,
        "project_version": fsfm_jax.__version__,
        "libraries": {library: version(library) for library in LIBRARIES},
        "shortfalls": list(shortfalls),
    }
    if shares:  # cards without shares keep their content
        identity["shares"] = shares
    finished = read_finished_card(directory)
    if finished is not None:
        plan = make_plan(walk, faces_per_shard, sampling)
        _check_same(_asked(finished.prepared), _asked(identity | {"items_digest": plan.digest}), directory)
        return finished
    with claim(directory):
        laid_down = read_identity(directory)
        if laid_down is None:
            start_over(directory)
            plan = lay_down(walk, faces_per_shard, sampling, directory, identity)
        else:
            plan = make_plan(walk, faces_per_shard, sampling)
            _check_same(laid_down, identity | {"items_digest": plan.digest}, directory)
        jobs = plan.jobs(root, directory, name)
        with tqdm(total=sum(plan.items.values()), unit="item", desc=name, disable=None) as bar:
            run(jobs, options, _Progress(jobs, bar))
        return finish(directory, name, jobs, options, walk.real, identity | {"items_digest": plan.digest})


def _refuse_incomplete(root: Path, spec: DataSet, shortfalls: Sequence[str]) -> None:
    raise ValueError(
        f"{root} is not the complete {spec.name}:\n  "
        + "\n  ".join(shortfalls)
        + "\nadd the missing parts, or continue without them with --allow_incomplete (the card will say so)"
    )


class _Progress:
    """A progress bar of finished items, in finished and in current shards."""

    def __init__(self, jobs: Sequence[ShardJob], bar: tqdm):
        self._jobs, self._bar = jobs, bar
        self._finished: dict[ShardJob, int] = {}

    def __call__(self) -> None:
        done = 0
        for job in self._jobs:
            if job not in self._finished and job.is_done():
                self._finished[job] = ShardResult.read(job.result).items
            current = None if job in self._finished else read_progress(job)
            done += self._finished[job] if job in self._finished else current[0] if current else 0
        self._bar.update(done - self._bar.n)


def _options(
    spec: DataSet,
    class_names: tuple[str, ...],
    detector: str,
    parser: str,
    parser_weights: str,
    scale: float,
    image_size: str,
    image_encoding: str,
) -> Options:
    if not detector:
        detector = NONE if spec.cropped else DEFAULT_DETECTOR
    if not parser:
        parser = NONE if not spec.parsed else GIVEN if spec.cropped else DEFAULT_PARSER
    if parser == GIVEN and not (spec.cropped and spec.parsed):
        raise ValueError(f"parser: {spec.name} has no ready-made parsing maps; expected {', '.join(PARSERS)} or none")
    if not image_size:
        image_size = NATIVE if parser == NONE else str(records.IMAGE_SIZE)
    if image_size != NATIVE and not image_size.isdigit():
        raise ValueError(f"image_size: expected a number of pixels or {NATIVE}, found {image_size!r}")
    return Options(
        detector=detector,
        parser=parser,
        class_names=class_names,
        parser_weights=parser_weights,
        scale=scale,
        image_size=None if image_size == NATIVE else int(image_size),
        image_encoding=image_encoding,
        black_borders=spec.black_borders,
    )


def _parser_version(options: Options) -> str:
    if options.parser in (NONE, GIVEN):
        return options.parser
    return make_parser(options.parser, options.parser_weights).version


def _sampling(frames: str) -> str | None:
    """Return the sampling rule for `--frames`; None leaves it to the data set."""
    if frames in ("", ALL):
        return frames or None
    if not frames.isdigit():
        raise ValueError(f"frames: expected a number or {ALL}, found {frames!r}")
    return describe_spacing(int(frames))


def _check_name(name: str, directory: Path) -> str:
    """Return the data set's name for files: `name`, or that of its folder with _ for invalid characters."""
    checked = name or re.sub(r"[^a-z0-9]+", "_", directory.resolve().name.lower())
    if not NAME_PATTERN.fullmatch(checked):
        raise ValueError(
            f"name of the data set {checked!r}: expected lower-case letters, digits and _, a letter first; "
            "give one with --name"
        )
    return checked


def _asked(identity: dict) -> dict:
    """Return what was asked for, without the versions that did it: an upgrade does not undo a finished data set."""
    return {name: value for name, value in identity.items() if name not in PROGRAM_VERSIONS}


def _check_same(before: dict, now: dict, directory: Path) -> None:
    found = differences(before, now)
    if found:
        raise ValueError(
            f"{directory} was started as another data set:\n  " + "\n  ".join(found) + "\n"
            "run its original command, or choose another folder (or remove this one)"
        )
