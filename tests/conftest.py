"""A strict session: eight simulated devices, no silent broadcasting, warnings are errors."""

import gc
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import pytest
from absl import flags
from light_compiling import XLA_FLAGS

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# The suite is mostly compile time: light optimisation, and even tiny programs are kept. What users run is
# compiled in full by the end-to-end tests, which start processes of their own.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
# XLA reads its flags once, for its first client: those processes do not inherit them.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}")
    jax.devices()

# Tracing makes many objects. A search for cycles after every 700 of them takes a tenth of its time.
gc.set_threshold(50_000)

flags.FLAGS.mark_as_parsed()  # grain reads a flag

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """`golden("masks")`: the arrays of a golden file."""
    opened = {}

    def load(name: str) -> dict[str, np.ndarray]:
        if name not in opened:
            with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
                opened[name] = dict(file)
        return opened[name]

    return load


@pytest.fixture
def undrawn(monkeypatch):
    """No pictures of test sets, which take longer than to score them."""
    from tuning import draw_nothing

    draw_nothing(monkeypatch)


# Runs that tests only read: once for all of them in a process.
@pytest.fixture(scope="session")
def pretrained(tmp_path_factory) -> str:
    """The workdir of a pretraining of two steps."""
    from tuning import pretrained_run

    return pretrained_run(tmp_path_factory.mktemp("pretrained") / "crfr_p")


@pytest.fixture(scope="session")
def tuned(pretrained, tmp_path_factory) -> str:
    """The workdir of a fine-tuning of six steps from it, which was tested."""
    from tuning import TESTED, tuned_run

    return tuned_run(tmp_path_factory.mktemp("tuned"), pretrained, **TESTED)
