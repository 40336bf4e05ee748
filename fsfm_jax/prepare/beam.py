"""Build the shards under Apache Beam, on a cluster (Dataflow, Flink, Spark) or with the Direct runner.

Beam's pins contradict those of JAX, so this runs in a separate environment (`requirements/beam.txt`). Workers read the
download and write the records by path, so both folders must be on a file system that all workers share. The process
that starts the pipeline writes the plan and finishes the data set.
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
    """A Beam function that builds shards and passes their jobs on."""

    def __init__(self, options: str):
        self._text = options

    def setup(self) -> None:
        """Load detector and parser, once for each worker."""
        self._options = Options.from_text(self._text)
        self._decoders = Apart()
        self._maker = FaceMaker(self._options, self._decoders)

    def teardown(self) -> None:
        """End the decoding processes."""
        self._decoders.close()

    def process(self, job: ShardJob):
        """Build one shard; a repetition after a failure gives the same bytes."""
        build_shard(job, self._options, self._maker)
        yield job


def run(jobs: Sequence[ShardJob], options: Options, progress: Callable[[], None], arguments: str) -> None:
    """Build the unfinished shards, and wait for them.

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
            # The reshuffle lets workers take shards one by one, instead of the whole bundle.
            _ = pipeline | beam.Create(todo) | beam.Reshuffle() | beam.ParDo(BuildShard(options.as_text()))
    progress()
    missing = [job for job in jobs if not job.is_done()]
    if missing:
        raise RuntimeError(
            f"{len(missing)} of {len(jobs)} shards are missing after the pipeline, first {missing[0].records}; check "
            "that all workers see the output folder under the same path"
        )
