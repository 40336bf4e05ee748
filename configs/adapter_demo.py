"""A small detector of drawn forgeries on a frozen encoder. Not a recipe of the papers.

    python -m fsfm_jax.main --config=configs/adapter_demo.py:cached --workdir=runs/adapter_demo

Data and encoder are those of `configs/finetune_demo.py`. Variants are `cached`, `linear-probe`, `layer-norm`, `bias`
and `lora` (see `adapt` in fsfm_jax/config/adapter.py). Hardware: two CPU cores. Measured: `configs/compare_demo.py` has
the results of FS-Adapter and the linear probe with stored features.
"""

from fsfm_jax.config import adapter
from fsfm_jax.config.recipes import load_recipe

# Duration and learning rate. At the probe's rate all units of FS-Adapter's bottleneck die (no biases), because 98 % of
# the demo's features are the same for every face.
ADAPTER, PROBE = ("150 epochs", 0.01), ("60 epochs", 0.3)
CONTRAST = 0.01  # FS-Adapter's weight for deepfakes


def get_config(variant=""):
    c = load_recipe("finetune_demo")
    words = {*variant.split(",")}
    if "linear-probe" in words:
        length = PROBE
    elif words & {*adapter.COMPARATORS}:
        length = c.duration, c.optimizer.base_learning_rate
    else:
        length = ADAPTER
    return adapter.adapt(c, c.batch.size, *length, CONTRAST, variant)
