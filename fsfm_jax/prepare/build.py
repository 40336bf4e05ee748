"""Make training records from the raw download of a data set.

    python -m fsfm_jax.prepare.build --dataset=vggface2 --input=DOWNLOAD --output=data/vggface2
    python -m fsfm_jax.prepare.build --list

The command finds faces in photos and videos and crops them as the papers do. For pretraining data it also parses them
into the 11 classes. It writes TFDS records, a card, a page, a list of dropped faces and a contact sheet. The same
command resumes an interrupted run; the records do not depend on the number of workers.
"""

import signal
import sys
from pathlib import Path

from absl import app, flags, logging

from fsfm_jax import command
from fsfm_jax.data.statistics import Card
from fsfm_jax.prepare import pool
from fsfm_jax.prepare.crop import SCALE
from fsfm_jax.prepare.detect.detector import DETECTORS
from fsfm_jax.prepare.finish import report_file
from fsfm_jax.prepare.manifests.registry import DATASETS
from fsfm_jax.prepare.options import IMAGE_ENCODINGS
from fsfm_jax.prepare.parse.parser import PARSERS
from fsfm_jax.prepare.plan import FACES_PER_SHARD
from fsfm_jax.prepare.preparation import Runner, build


def _summary(card: Card, directory: str) -> str:
    lines = []
    for split, statistics in card.splits.items():
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(statistics.dropped.items())) or "none"
        lines.append(
            f"{card.name}, split {split}: {statistics.examples:,} faces of {statistics.items:,} photos and videos in "
            f"{len(statistics.shard_lengths)} shards, {statistics.num_bytes / 1e6:,.1f} MB; not kept: {dropped} "
            f"(named in {report_file(split)})"
        )
    return "\n".join([*lines, f"see {directory}/README.md and the contact sheets next to it"])


def define_flags() -> None:
    # Not at import: flags are shared by the whole process, and other programs also define --input.
    flags.DEFINE_bool("list", False, "List the data sets, detectors and parsers, and exit.")
    flags.DEFINE_string("dataset", None, "Data set to prepare, NAME or NAME:VARIANT; --list shows all.")
    flags.DEFINE_string("input", None, "Folder of the downloaded data set.")
    flags.DEFINE_string("output", None, "Folder to write the records to.")
    flags.DEFINE_string("name", "", "Name of the records (default: name of the output folder).")
    flags.DEFINE_integer("workers", 0, "Number of worker processes; 0: one for each core.", lower_bound=0)
    flags.DEFINE_string("beam", None, "Apache Beam options; builds with Beam instead of local processes.")
    flags.DEFINE_string("detector", "", f"Face detector: {', '.join(DETECTORS)}, or none for ready crops.")
    flags.DEFINE_string("parser", "", f"Face parser: {', '.join(PARSERS)}, or none.")
    flags.DEFINE_string("parser_weights", "", "Weight file of the parser, for farl and bisenet.")
    flags.DEFINE_float("scale", SCALE, "Side of the crop divided by the longer side of the face box.")
    flags.DEFINE_string("frames", "", "Frames per video: a number, or all (default: the data set's rule).")
    flags.DEFINE_string("image_size", "", "Side of the stored crops in pixels, or native for their own size.")
    flags.DEFINE_enum("image_encoding", "keep", IMAGE_ENCODINGS, "keep: PNG, ready crops unchanged; or jpeg.")
    flags.DEFINE_string("real", "", "Name of the real class, for data sets with your own classes.")
    flags.DEFINE_string("shares", "", "Make splits by a hash of the names, such as train=70,val=10,test=20.")
    flags.DEFINE_integer("faces_per_shard", FACES_PER_SHARD, "Approximate number of faces per shard.", lower_bound=1)
    flags.DEFINE_bool("allow_incomplete", False, "Continue although parts of the download are missing.")


SETTINGS = (
    "name", "detector", "parser", "parser_weights", "scale", "frames", "image_size", "image_encoding", "real", "shares",
    "faces_per_shard", "allow_incomplete",
)  # fmt: skip


def _listing() -> str:
    lines = ["data sets:"]
    for spec in DATASETS.values():
        variants = f" (variants: {', '.join(spec.variants)}; the first by default)" if spec.variants else ""
        lines.append(f"  {spec.name:22} {spec.about}{variants}")
    for title, choices in (("detectors", DETECTORS), ("parsers", PARSERS)):
        lines += [f"{title}:"] + [f"  {name:22} {about}" for name, about in choices.items()]
    return "\n".join(lines)


def _runner(workers: int, beam: str | None) -> Runner:
    if beam is None:
        return lambda jobs, options, progress: pool.run(jobs, options, workers or pool.cores(), progress)
    # Apache Beam has an environment of its own: its pins contradict those of JAX.
    from fsfm_jax.prepare import beam as pipeline

    return lambda jobs, options, progress: pipeline.run(jobs, options, progress, beam)


def main(argv: list[str]) -> None:
    """Run the command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}: expected options of the form --name=value")
    chosen = flags.FLAGS
    if chosen.list:
        print(_listing())
        return
    missing = [name for name in ("dataset", "input", "output") if getattr(chosen, name) is None]
    if missing:
        raise app.UsageError(f"expected --dataset, --input and --output; missing: {', '.join(missing)}")
    logging.set_verbosity(logging.WARNING)  # silence progress messages of TFDS
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also ends the workers
    try:
        card = build(
            chosen.dataset,
            Path(chosen.input),
            Path(chosen.output),
            _runner(chosen.workers, chosen.beam),
            **{name: getattr(chosen, name) for name in SETTINGS},
        )
    except KeyboardInterrupt:
        sys.exit("stopped; run the same command again to resume")
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")
    print(_summary(card, chosen.output))


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
