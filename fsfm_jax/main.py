"""Command line: `python -m fsfm_jax.main --config=configs/pretrain_vitb.py --workdir=DIR`.

Any field of the configuration can be changed: `--config.batch.size=1024`. Running the same command again
goes on from the last checkpoint in DIR. A run that was told to stop (SIGTERM, or the notice of a preemption) ends with
exit code 75: start it again.
"""

# Kept short: flags, the cluster, the job. Loader processes import this module again.
import logging
import sys

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from fsfm_jax import compare, evaluate, finetune, pretrain, tabulate
from fsfm_jax.train.loop import Interrupted
from fsfm_jax.workdir import make_folder

JOBS = {
    "pretrain": pretrain.run, "finetune": finetune.run, "evaluate": evaluate.run, "tabulate": tabulate.run,
    "compare": compare.run,
}  # fmt: skip

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, FILE.py or FILE.py:VARIANT.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of checkpoints, metrics and pictures; also gs://...")
_STOP_AFTER = flags.DEFINE_string("stop_after", "", "Save and end after so many steps, or a share such as 60%.")
_CLUSTER = flags.DEFINE_bool("cluster", False, "Join the other hosts of a pod or cluster (jax.distributed).")


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected arguments {arguments[1:]}; options are spelt --name=value")
    if _CLUSTER.value:
        jax.distributed.initialize()
    # The libraries narrate every save and every backend that they do not find; ours is the run's own voice.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    voice = logging.getLogger("fsfm_jax")
    voice.setLevel(logging.INFO if jax.process_index() == 0 else logging.WARNING)
    job = JOBS.get(_CONFIG.value.job)
    if job is None:
        sys.exit(f"config.job: expected one of {', '.join(JOBS)}; found {_CONFIG.value.job!r}")
    try:
        make_folder(_WORKDIR.value)
        job(_CONFIG.value, _WORKDIR.value, _STOP_AFTER.value)
    except Interrupted as stop:
        voice.info("%s", stop)
        sys.exit(stop.exit_code)
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        # The user's to mend: the message says how, a traceback would only hide it.
        voice.debug("details", exc_info=True)
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
