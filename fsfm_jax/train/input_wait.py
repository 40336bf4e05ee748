"""Which one limits a run, the device or its input: the share of the time in which the device waited for a batch."""

import logging
import math
import time

import jax

LOG = logging.getLogger("fsfm_jax")
# Steps that say nothing: the loader has only begun, or its buffer is still full from the time of compiling.
SETTLING = 5
WORTH_A_WORD = 0.1


class InputWait:
    """Times the steps of a loop: `begin`, then the batch, `arrived`, then the step and the report, `end`.

    The loop is one step ahead of the device. If the device limits, the loop waits where it reads the metrics of the
    step before; a wait for a batch counts only if the device had nothing left to do when the batch came. Saves and
    validation lie between `end` and `begin` and do not count.

    Attributes:
      seconds, waited: of the last step, and of these how long the device waited for its batch.
    """

    def __init__(self):
        self._steps, self._waited, self._seconds = 0, 0.0, 0.0
        self._begun = self.seconds = self.waited = math.nan

    def begin(self) -> None:
        """Mark the time before a batch is asked for."""
        self._begun = time.monotonic()

    def arrived(self, idle: bool) -> None:
        """Mark the arrival of the batch; `idle`: the device has finished every step that it was given."""
        self.waited = time.monotonic() - self._begun if idle else 0.0

    def end(self) -> float:
        """Return the share of this step's time that was spent waiting for its batch, 0 to 1; NaN of the first steps."""
        self.seconds = time.monotonic() - self._begun
        self._steps += 1
        if self._steps <= SETTLING:
            return math.nan
        self._waited += self.waited
        self._seconds += self.seconds
        return self.waited / self.seconds if self.seconds else 0.0

    def advise(self) -> None:
        """Say what to change if the input took much of the time; of each host, since the slowest one sets the pace."""
        if not self._seconds or self._waited < WORTH_A_WORD * self._seconds:
            return
        LOG.warning(
            "Host %d: the device waited for its input %.0f %% of the time. Take more loader processes (data.workers) "
            "or threads (data.threads) up to the number of cores, or records that are decoded faster (prepare.build "
            "--image_encoding=jpeg). How fast the device is alone, pretraining says with data.repeat_batch=True.",
            jax.process_index(), 100 * self._waited / self._seconds,
        )  # fmt: skip
