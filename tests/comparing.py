"""What the tests of comparisons and ablations share: cells that take seconds, and counting what is run."""

import json
import signal
from pathlib import Path

from tuning import FINETUNING

from fsfm_jax.jobs import finetune
from fsfm_jax.train.loop import Interrupted

CHANGES = {
    **FINETUNING, "data.test": "A=forged:blend:16:2:1,B=forged:blend:8:5:1", "duration": "2 steps",
    "checkpoint.every": "2 steps",
}  # fmt: skip


class Stopped(Interrupted):
    """The comparison was told to stop."""

    def __init__(self):
        super().__init__(0, 2, signal.SIGTERM)


class Counted:
    """`finetune.run` that counts the folders it is called with, and can stop before one."""

    def __init__(self, stop_at: int | None = None):
        self.run, self.stop_at, self.folders = finetune.run, stop_at, []

    def __call__(self, config, workdir, stop_after=""):
        if len(self.folders) == self.stop_at:
            raise Stopped
        self.folders.append("/".join(Path(workdir).parts[-3:]))
        self.run(config, workdir, stop_after)


def aucs(workdir: Path, cell: str, level: str = "video") -> dict[str, float]:
    """AUC of each test set in percent, from what the cell itself wrote."""
    data = json.loads((workdir / "runs" / cell / "test" / "metrics.json").read_text())["data"]
    return {name: 100 * data[name][level]["metrics"]["auc"] for name in "AB"}
