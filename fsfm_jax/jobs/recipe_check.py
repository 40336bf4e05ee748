"""Check a fine-tuning configuration before any data is opened: base model, recipe and tuning against each other."""

import functools

import jax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from fsfm_jax.models.classifier import initialise
from fsfm_jax.models.scratch import scratch_initialisation
from fsfm_jax.optim import tuning
from fsfm_jax.optim.optimizer import OptimizerSpec, by_rule
from fsfm_jax.resolve.finetune import SCRATCH, Finetuning, resolve_finetuning
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.normalisation import Statistics

# A placeholder for the statistics of the data, which are not open yet.
_STATISTICS = Statistics((0.5,) * 3, (0.25,) * 3)


def check_recipe(config: ConfigDict) -> None:
    """Resolve a configuration as far as possible without data, and apply its rules to its network.

    The optimizer's rules must cover every parameter. Every parameter must be new or have a counterpart in a pretrained
    encoder of `model.base`. At least one parameter must be trained.

    Raises:
      ValueError: fields contradict each other, or parameters have no rule; the message names them.
    """
    resolved = _without_data(config)
    try:
        _check_network(resolved.task, resolved.optimizer, resolved.trained, config.init == SCRATCH)
    except ValueError as error:
        fields = ("model.base", "model.size", "model.network", "model.pooling", "tuning.method")
        said = {name: config[name.split(".")[0]][name.split(".")[1]] for name in fields}
        raise ValueError(f"{', '.join(f'{name}={value}' for name, value in said.items())}: {error}") from error


def _without_data(config: ConfigDict) -> Finetuning:
    """Resolve the configuration with durations that do not depend on the number of images."""
    c = config.copy_and_resolve_references()
    c.duration, c.optimizer.warmup, c.checkpoint.every = "2 steps", "0 steps", "1 steps"
    classes = len(c.data.classes.split(",")) if c.data.classes else 2
    return resolve_finetuning(c, c.batch.size, classes, 0, _STATISTICS, jax.device_count())


@functools.lru_cache(64)
def _check_network(task: ClassifyTask, optimizer: OptimizerSpec, trained: str, scratch: bool) -> None:
    params = jax.eval_shape(task.init, jax.random.key(0))
    for rules in (optimizer.weight_decay_rules, optimizer.rate_rules or ((".*", 1.0),)):
        by_rule(params, rules)
    if not tuning.split(params, trained)[0]:
        raise ValueError("nothing of this network would be trained")
    if scratch:
        jax.eval_shape(scratch_initialisation, params, jax.random.key(0))
        return
    # The parameters of a pretraining: the encoder without LoRA updates and adapters, and with its final norm.
    encoder = {
        path: leaf
        for path, leaf in flatten_dict(params["encoder"]).items()
        if "lora" not in path[-1] and "adapter" not in path
    }
    norm = {("norm", name): leaf for name, leaf in params["encoder"]["block_00"]["norm1"].items()}
    initialise({"encoder": unflatten_dict(encoder | norm)}, params, task.model.grid)
