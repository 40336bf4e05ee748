"""The analyses of FSFM's supplement, and robustness, on any checkpoint and data; each writes a picture and its numbers.

    python -m fsfm_jax.analyze attention --checkpoint=runs/vitb,runs/mae --data=samples --output=pictures
    python -m fsfm_jax.analyze maps --checkpoint=runs/vitb --data=samples --output=pictures
    python -m fsfm_jax.analyze reconstruction --checkpoint=runs/vitb --data=samples --output=pictures
    python -m fsfm_jax.analyze cam --checkpoint=runs/dfd --data=data/ffpp_all:test --output=pictures
    python -m fsfm_jax.analyze masking --data=samples --output=pictures
    python -m fsfm_jax.analyze self-blended --data=samples --output=pictures
    python -m fsfm_jax.analyze localisation --checkpoint=runs/sbi --data=samples --output=pictures
    python -m fsfm_jax.analyze features --checkpoint=runs/dfd --data=data/ffpp_all:test --output=pictures
    python -m fsfm_jax.analyze parsers --data=samples --output=pictures
    python -m fsfm_jax.analyze robustness --checkpoint=runs/dfd --data=CDFv2=data/celebdf_v2:test --output=report
    python -m fsfm_jax.analyze ablation --table=runs/ablate_weights/table.csv --output=pictures
    python -m fsfm_jax.analyze figure --paper=fsfm-supp --number=3 --checkpoint=runs/a,runs/b --output=pictures
    python -m fsfm_jax.analyze figure --list

Checkpoints are working directories, exports, official files (fine-tuned ones with --classes), or `small`, the weights
that come with fsfm_jax. See docs/analysis.md.
"""

# ruff: noqa: E402

from fsfm_jax import command

if __name__ == "__main__":
    command.one_line_interrupts()  # the libraries take seconds to import

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from absl import app, flags
from absl import logging as absl_logging

from fsfm_jax.analyze import features, galleries, heads, papers, robustness
from fsfm_jax.analyze.ablations import draw_ablation_table
from fsfm_jax.analyze.blends import draw_blends
from fsfm_jax.analyze.localisation import measure_localisation
from fsfm_jax.analyze.parsers import DEFAULT, compare_parsers
from fsfm_jax.data import corruption, masking
from fsfm_jax.data.masking import STRATEGIES
from fsfm_jax.data.resizing import resize_whole
from fsfm_jax.detection.detector import FOLDER
from fsfm_jax.detection.encoder import open_encoder
from fsfm_jax.detection.opener import Unsaid, open_detector
from fsfm_jax.detection.predictor import predictor_of
from fsfm_jax.figures.faces import Faces, open_faces, open_methods
from fsfm_jax.figures.gallery import CELL
from fsfm_jax.weights.run_reader import open_reconstruction

# The analyses: the default number of faces of each, and its maximum number of checkpoints.
IMAGES = {
    "attention": 32, "maps": 6, "reconstruction": 4, "cam": 8, "masking": 4, "features": 256, "ablation": 0,
    "parsers": 64, "robustness": 0, "self-blended": 8, "localisation": 64,
}  # fmt: skip
MOST = {
    "attention": 8, "maps": 8, "reconstruction": 6, "cam": 1, "masking": 0, "features": 1, "ablation": 0, "parsers": 0,
    "robustness": 1, "self-blended": 0, "localisation": 1,
}  # fmt: skip
FIGURE = "figure"  # runs one of the analyses with the settings of a figure in a paper
SETTINGS = (
    "checkpoint", "data", "output", "images", "strategies", "ratio", "rolls", "seed", "method", "colour", "by", "heads",
    "parsers", "farl_weights", "bisenet_weights", "against", "table", "base", "classes", "statistics", "norm_over",
    "corruptions", "strengths", "batch",
)  # fmt: skip
EACH = 4  # faces per method


def define_flags() -> None:
    # Flags are global to the process, so an import must not define them.
    flags.DEFINE_list("checkpoint", [], "Working directory or weight file; several for attention, maps and galleries.")
    flags.DEFINE_string("data", "samples", "Data set, as in data.train; for robustness NAME=SPEC,NAME=SPEC.")
    flags.DEFINE_string("output", None, "Folder to write to.")
    flags.DEFINE_integer("images", None, "Number of faces, evenly spaced over the data set (default: by analysis).")
    flags.DEFINE_list("strategies", None, f"For masking and reconstruction: some of {', '.join(STRATEGIES)}.")
    flags.DEFINE_float("ratio", 0.75, "Mask ratio: share of hidden patches, 0 to 1.")
    flags.DEFINE_integer("rolls", 1, "Number of masks or self-blended copies per face.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of masks, blends and corruptions.")
    corruptions = f"For robustness: some of {', '.join(corruption.CORRUPTIONS)} (default all)."
    flags.DEFINE_list("corruptions", None, corruptions)
    flags.DEFINE_list("strengths", None, f"For robustness: some of {', '.join(corruption.STRENGTHS)} (default all).")
    flags.DEFINE_integer("batch", 64, "For robustness: batch size, in images.", lower_bound=1)
    flags.DEFINE_string("method", "tsne", f"For features: projection to the plane, {' or '.join(features.METHODS)}.")
    flags.DEFINE_enum("colour", "label", ("label", "video"), "For features: colour points by label or by video.")
    flags.DEFINE_enum("by", None, ("method",), "For cam: draw a row per manipulation method, with --images faces each.")
    flags.DEFINE_integer("heads", None, "For maps: number of heads drawn in addition to their mean.", lower_bound=0)
    flags.DEFINE_list("parsers", list(DEFAULT), "For parsers: stored (the maps of the data set), or names of parsers.")
    flags.DEFINE_string("farl_weights", "", "For parsers: weight file of FaRL; without it FaRL is left out.")
    flags.DEFINE_string("bisenet_weights", "", "For parsers: ONNX file of a BiSeNet.")
    flags.DEFINE_list("against", [], "For parsers: other data sets of the same faces, prepared with another parser.")
    flags.DEFINE_string("table", "", "For ablation: the table.csv of an ablation.")
    flags.DEFINE_string("paper", "", "For figure: the paper, fsfm, fsfm-supp or fs-vfm.")
    flags.DEFINE_string("number", "", "For figure: number of the figure in the paper, such as 3.")
    flags.DEFINE_bool("list", False, "For figure: list the figures of each paper and what they need.")
    flags.DEFINE_string("base", "fsfm", "For weight files: the base model, as in model.base.")
    flags.DEFINE_string("classes", "", "For official fine-tuned files: class names by index, such as fake,real.")
    flags.DEFINE_string("statistics", "", "For official fine-tuned files: channel statistics, if no file has them.")
    flags.DEFINE_string("norm_over", "", "For official anti-spoofing files: norm over tokens or features.")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) == 2 and arguments[1] == FIGURE and chosen.list:
        command.say(papers.list_figures())
        return
    if len(arguments) != 2 or arguments[1] not in (*IMAGES, FIGURE) or chosen.output is None:
        raise app.UsageError(f"expected one of {', '.join((*IMAGES, FIGURE))}, then --output=FOLDER")
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax logs every step

    def job() -> int:
        analyse(arguments[1], chosen)
        command.say(f"{arguments[1]}: see {chosen.output}")
        return 0

    command.run(job)


def analyse(what: str, chosen: Any) -> None:
    """Run the analysis `what`, a key of `IMAGES` or `FIGURE`, with settings named like the flags.

    Files appear in `chosen.output` when the analysis ends; a failed analysis does not change that folder. A robustness
    report is the exception: its rows stay, and the same command resumes from them.

    Raises:
      ValueError, FileNotFoundError: if a checkpoint or data set cannot be opened, the number of checkpoints is wrong,
        or the output is not a writable folder.
    """
    if what == FIGURE:
        what, chosen = as_in_paper(chosen)
    names = list(chosen.checkpoint)
    most = MOST[what]
    if not min(most, 1) <= len(names) <= most:
        raise ValueError(f"--checkpoint: {what} takes {'none' if not most else f'1 to {most}'}, found {len(names)}")
    if what == "ablation" and not chosen.table:
        raise ValueError("--table: expected the table.csv of an ablation, found nothing; pass --table=FILE")
    if what == "features" and chosen.method not in features.METHODS:
        raise ValueError(f"--method: expected one of {', '.join(features.METHODS)}; found {chosen.method!r}")
    if what == "robustness":
        _report(chosen, names[0])
        return
    with _fill(chosen.output) as folder:
        _draw(what, chosen, names, folder)


def as_in_paper(chosen: Any) -> tuple[str, Any]:
    """Return the analysis of the figure `chosen.paper`, `chosen.number`, and `chosen` with the figure's settings.

    Raises:
      ValueError: if there is no such figure.
    """
    figure = papers.find_figure(chosen.paper, chosen.number)
    left_open = {name: value for name, value in figure.settings.items() if getattr(chosen, name) is None}
    return figure.what, SimpleNamespace(**{name: getattr(chosen, name) for name in SETTINGS} | left_open)


@contextlib.contextmanager
def _fill(output: str) -> Iterator[str]:
    """Yield a hidden folder in `output` and move its files there when the block ends without an error."""
    try:
        os.makedirs(output, exist_ok=True)
        hidden = tempfile.mkdtemp(prefix=".", dir=output)
    except OSError as error:
        raise ValueError(f"--output={output}: expected a folder to write to: {error.strerror}") from error
    try:
        yield hidden
        for name in sorted(os.listdir(hidden)):
            os.replace(os.path.join(hidden, name), os.path.join(output, name))  # a link is replaced, not followed
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _report(chosen: Any, checkpoint: str) -> None:
    spec = robustness.resolve_robustness(chosen.corruptions, chosen.strengths, chosen.seed, chosen.batch)
    unsaid = Unsaid(chosen.classes, chosen.statistics, chosen.norm_over)
    robustness.report_robustness(checkpoint, unsaid, chosen.data, spec, chosen.output)


def _draw(what: str, chosen: Any, names: list[str], folder: str) -> None:
    if what == "ablation":
        draw_ablation_table(chosen.table, folder)
        return
    by_method = what == "cam" and chosen.by == "method"
    usual, read = (EACH, open_methods) if by_method else (IMAGES[what], open_faces)
    faces = read(chosen.data, usual if chosen.images is None else chosen.images)
    unsaid = Unsaid(chosen.classes, chosen.statistics, chosen.norm_over)
    if what == "masking":
        strategies = galleries.check_strategies(list(STRATEGIES) if chosen.strategies is None else chosen.strategies)
        galleries.draw_masking(faces, strategies, chosen.ratio, chosen.rolls, chosen.seed, folder)
    elif what == "self-blended":
        draw_blends(faces, chosen.rolls, chosen.seed, folder)
    elif what == "parsers":
        strategies = galleries.check_strategies(list(STRATEGIES) if chosen.strategies is None else chosen.strategies)
        weights = {"farl": chosen.farl_weights, "bisenet": chosen.bisenet_weights}
        compare_parsers(
            faces, chosen.parsers, weights, chosen.against, strategies, chosen.ratio, chosen.rolls, chosen.seed, folder
        )
    elif what == "reconstruction":
        strategies = galleries.check_strategies((masking.DEFAULT,) if chosen.strategies is None else chosen.strategies)
        for name in names:
            if os.path.isdir(os.path.join(name, FOLDER)):
                raise ValueError(f"--checkpoint: {name} is a detector without pixel decoder; use its pretraining run")
        runs = [open_reconstruction(name) for name in names]
        galleries.draw_reconstructions(runs, names, faces, strategies, chosen.ratio, chosen.seed, folder)
    elif what in ("cam", "localisation"):
        detector = open_detector(names[0], unsaid)
        predictor = predictor_of(detector)
        looking = detector, predictor.transform, predictor.heat, predictor.log_probabilities, faces
        if what == "cam":
            galleries.draw_heat(*looking, folder, by_method)
        else:
            measure_localisation(*looking, chosen.rolls, chosen.seed, folder)
    else:
        opened = [open_encoder(name, unsaid, chosen.base) for name in names]
        square = np.stack([resize_whole(image, CELL) for image in faces.images])
        if what == "attention":
            heads.compare_heads(opened, square, folder)
        elif what == "maps":
            heads.draw_maps(opened, square, folder, chosen.heads)
        else:
            groups = _groups(faces, chosen.colour)
            title = f"features of {os.path.basename(os.path.normpath(names[0]))}"
            found = opened[0].features(square)
            features.draw_features(found, groups, faces.videos, chosen.method, title, folder)


def _groups(faces: Faces, colour: str) -> list[str]:
    if colour == "video":
        return faces.videos
    return faces.labels if faces.labels is not None else ["not labelled"] * len(faces.images)


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
