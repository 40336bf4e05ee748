"""Command line: `python -m fsfm_jax.main --config=configs/pretrain_vitb.py --workdir=DIR`.

Any field of the configuration can be changed: `--config.batch.size=1024`. Running the same command again
resumes from the last checkpoint in DIR. A run that was told to stop (SIGTERM, or the notice of a preemption) ends with
exit code 75: start it again. A wrong option, field or configuration file ends with one sentence and exit code 2, every
other error that the message explains with 1.
"""

# Kept short: flags, the cluster, the job. Loader processes import this module again, and a wrong option needs no job:
# the module of a job is imported when its run begins.
import importlib
import logging
import sys

from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags

from fsfm_jax import command
from fsfm_jax.config import options
from fsfm_jax.config.fields import FieldError, one_of, stop_step
from fsfm_jax.config.options import WRONG_USE, refuse
from fsfm_jax.run.cluster import first_device, join_cluster
from fsfm_jax.run.goodput import begin_command
from fsfm_jax.run.workdir import make_folder
from fsfm_jax.train.loop import Interrupted

read_options = options.read_options  # how `command.start` reads the command line
JOBS = ("pretrain", "finetune", "evaluate", "tabulate", "compare", "ablate", "study")  # modules of `fsfm_jax.jobs`

config_flags.DEFINE_config_file("config", None, "Configuration file, FILE.py or FILE.py:VARIANT.", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of checkpoints, metrics and pictures; also gs://...")
flags.DEFINE_string("stop_after", "", "Save and end after so many steps, or a share such as 60%.")
flags.DEFINE_bool("cluster", False, "Join the other hosts of a pod or cluster (jax.distributed).")


def main(arguments: list[str]) -> None:
    del arguments  # all of them are options, which `read_options` has checked
    begin_command()
    chosen = flags.FLAGS
    # The libraries narrate every save and every backend that they do not find; ours is the run's own voice.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    voice = logging.getLogger("fsfm_jax")
    voice.setLevel(logging.INFO)
    try:
        job = one_of("--config.job", chosen.config.get("job"), JOBS)
        stop_step(chosen.stop_after, 1)
        if chosen.cluster:
            join_cluster()
        if first_device().process_index:
            voice.setLevel(logging.WARNING)
    except FieldError as error:
        refuse(str(error))
    try:
        make_folder(chosen.workdir)
        importlib.import_module(f"fsfm_jax.jobs.{job}").run(chosen.config, chosen.workdir, chosen.stop_after)
    except Interrupted as stop:
        voice.info("%s", stop)
        sys.exit(stop.exit_code)
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        # For the user to fix: the message says how, a traceback would only hide it.
        voice.debug("details", exc_info=True)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(WRONG_USE if isinstance(error, FieldError) else 1)


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
