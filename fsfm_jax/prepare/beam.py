"""The same shards under Apache Beam, for clusters (Dataflow, Flink, Spark) or the Direct runner.

Beam's pins contradict those of JAX, so this runs in an environment of its own (`requirements/beam.txt`). Workers read
the download and write the records by path: both folders lie on a file system that all of them share. The plan is laid
down and the data set finished by the process that starts the pipeline.
"""

import shlex
from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from fsfm_jax.prepare.faces import FaceMaker
from fsfm_jax.prepare.media.apart import Apart
from fsfm_jax.prepare.options import Options
from fsfm_jax.prepare.shard import ShardJob, build_shard


class BuildShard(beam.DoFn):
    """Makes the shards that it is given, and hands on their jobs."""

    def __init__(self, options: str):
        self._text = options

    def setup(self) -> None:
        """Loads detector and parser, once for each worker."""
        self._options = Options.from_text(self._text)
        self._decoders = Apart()
        self._maker = FaceMaker(self._options, self._decoders)

    def teardown(self) -> None:
        """Ends the processes that decode."""
        self._decoders.close()

    def process(self, job: ShardJob):
        """Makes one shard; done again after a failure, it gives the same bytes."""
        build_shard(job, self._options, self._maker)
        yield job


def run(jobs: Sequence[ShardJob], options: Options, progress: Callable[[], None], arguments: str) -> None:
    """Makes the shards that are not done yet, and waits for them.

    Args:
      arguments: options of Beam as on a command line, such as "--runner=DirectRunner --direct_num_workers=2".

    Raises:
      RuntimeError: the pipeline failed, or shards are missing at its end.
    """
    todo = [job for job in jobs if not job.is_done()]
    settings = PipelineOptions(shlex.split(arguments))
    settings.view_as(SetupOptions).save_main_session = False
    if todo:
        with beam.Pipeline(options=settings) as pipeline:
            # The reshuffle lets workers take shards one by one, rather than all that were made together.
            _ = pipeline | beam.Create(todo) | beam.Reshuffle() | beam.ParDo(BuildShard(options.as_text()))
    progress()
    missing = [job for job in jobs if not job.is_done()]
    if missing:
        raise RuntimeError(
            f"{len(missing)} of {len(jobs)} shards are missing after the pipeline, first {missing[0].records}; do all "
            "workers see the output folder under the same path?"
        )
