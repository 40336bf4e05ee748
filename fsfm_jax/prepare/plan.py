"""Plan a build: assign items to shards, and record the run's identity so that it can be resumed.

The plan depends only on the download and the options, never on the number of workers. It is written before the first
shard is started; a resumed run makes it again and compares.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fsfm_jax.data.statistics import UNFINISHED
from fsfm_jax.prepare.manifests.manifest import Item, Walk
from fsfm_jax.prepare.sampling import ALL, PAIR, PHOTO
from fsfm_jax.prepare.shard import ShardJob, item_line, sync

FACES_PER_SHARD = 4096  # about ten minutes of work, and 350 MB of PNG photos of 224x224
FACES_OF_A_VIDEO = 400  # assumed for a video whose frames are all used; only the size of shards depends on it
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """The shards to make of the items of all splits."""

    shards: dict[str, int]  # number of shards of each split
    items: dict[str, int]
    digest: str  # SHA-256 over all items, in order, and their shards

    def jobs(self, root: Path, directory: Path, name: str) -> list[ShardJob]:
        """Return the jobs for the shards of all splits."""
        return [
            ShardJob(str(root), str(directory), name, split, index, total)
            for split, total in self.shards.items()
            for index in range(total)
        ]


def make_plan(
    walk: Walk,
    faces_per_shard: int,
    sampling: str | None = None,
    write: Callable[[str, int, str], None] = lambda split, shard, line: None,
) -> Plan:
    """Divide the items of a walk into shards.

    Args:
      sampling: rule that replaces the frame selection of videos (except "pair").
      write: called with split, shard and line for each item.

    Raises:
      ValueError: a split has no items.
    """
    digest, shards, items = hashlib.sha256(), {}, Counter()
    for split, listed in walk.splits.items():
        for shard, item in _split_shards(listed, faces_per_shard, sampling):
            line = item_line(item)
            write(split, shard, line)
            digest.update(f"{split} {shard} {line}".encode())
            items[split] += 1
            shards[split] = shard + 1
        if split not in shards:
            raise ValueError(f"split {split}: expected at least one photo or video, found none")
    return Plan(shards, dict(items), digest.hexdigest())


def _split_shards(items, faces_per_shard: int, sampling: str | None) -> Iterator[tuple[int, Item]]:
    shard, load = 0, 0
    for item in items:
        if sampling is not None and item.sampling not in (PHOTO, PAIR):
            item = replace(item, sampling=sampling)
        faces = _expected_faces(item.sampling)
        if load and load + faces > faces_per_shard:
            shard, load = shard + 1, 0
        load += faces
        yield shard, item


def _expected_faces(sampling: str) -> int:
    if sampling in (PHOTO, PAIR, ALL):
        return {PHOTO: 1, PAIR: 2, ALL: FACES_OF_A_VIDEO}[sampling]
    return int(sampling.partition(":")[2])


def lay_down(walk: Walk, faces_per_shard: int, sampling: str | None, directory: Path, identity: dict) -> Plan:
    """Make the plan of a new run and write it below `directory`; `identity` identifies the run."""
    open_file, current = None, None

    def write(split: str, shard: int, line: str) -> None:
        nonlocal open_file, current
        if current != (split, shard):
            if open_file is not None:
                open_file.close()
            path = ShardJob("", str(directory), "", split, shard, 0).plan
            open_file, current = open(path, "w", encoding="utf-8"), (split, shard)
        open_file.write(line)

    try:
        plan = make_plan(walk, faces_per_shard, sampling, write)
    finally:
        if open_file is not None:
            open_file.close()
    partial = directory / UNFINISHED / (PLAN_FILE + ".partial")
    partial.write_text(json.dumps({**identity, "items_digest": plan.digest}, indent=2, sort_keys=True))
    sync(partial)
    # Written last: a plan without this file is unfinished.
    partial.replace(directory / UNFINISHED / PLAN_FILE)
    return plan


def read_identity(directory: Path) -> dict | None:
    """Read the identity of the run that wrote the plan in `directory`; None if there is none."""
    path = directory / UNFINISHED / PLAN_FILE
    return json.loads(path.read_text()) if path.exists() else None


def differences(before: dict, now: dict) -> list[str]:
    """Return the fields in which two identities differ, one sentence each."""
    return [
        f"{name}: {before.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
