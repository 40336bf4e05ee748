"""Records for tests: made of given faces, or of a folder by the real pipeline, within the process of the test."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fsfm_jax.data.statistics import Card
from fsfm_jax.prepare.example import Face
from fsfm_jax.prepare.faces import FaceMaker
from fsfm_jax.prepare.finish import finish
from fsfm_jax.prepare.manifests.manifest import Item, Walk
from fsfm_jax.prepare.options import GIVEN, NONE, Options
from fsfm_jax.prepare.plan import lay_down
from fsfm_jax.prepare.preparation import build
from fsfm_jax.prepare.shard import ShardJob, build_shard
from fsfm_jax.prepare.workplace import claim


def digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder, by name."""
    files = (path for path in sorted(directory.iterdir()) if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run_here(jobs: Sequence[ShardJob], options: Options, progress: Callable[[], None]) -> None:
    """Runs shards one after the other, in this process."""
    maker = FaceMaker(options)
    for job in jobs:
        build_shard(job, options, maker)
        progress()


def records_of_folder(directory: Path, root: Path, dataset: str = "cropped_and_parsed", **settings) -> Card:
    """Records of a folder, by default in the layout of the official pretraining data."""
    return build(dataset, root, directory, run_here, name="faces", **settings)


def records_of_faces(
    directory: Path, splits: dict[str, list[tuple[bytes, np.ndarray, str]]], per_shard: int, name: str = "faces"
) -> Card:
    """Records of `(photo, parsing_map, source)`, with `per_shard` of them in each shard."""
    faces = {
        f"{split}/{source}": Face(photo, parsing_map, source, source, -1, -1, "")
        for split, content in splits.items()
        for photo, parsing_map, source in content
    }
    walk = Walk(
        {split: [Item(f"{split}/{source}", source) for _, _, source in content] for split, content in splits.items()}
    )
    options = Options(detector=NONE, parser=GIVEN)
    with claim(directory):
        plan = lay_down(walk, per_shard, None, directory, {})
        jobs = plan.jobs(Path("."), directory, name)
        for job in jobs:
            build_shard(job, options, lambda root, item: iter([faces[item.path]]))
        return finish(directory, name, jobs, options, None, {"shortfalls": []})
