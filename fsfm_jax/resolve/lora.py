"""From the `tuning` fields of a fine-tuning to its low-rank updates."""

import re

from ml_collections import ConfigDict

from fsfm_jax.config import finetune
from fsfm_jax.config.fields import one_of
from fsfm_jax.models.lora import PROJECTIONS, LoraSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim import tuning

# Fields that only LoRA has; those that are as old as it is were never refused elsewhere.
OWN = ("projections", "blocks")


def resolve_lora(c: ConfigDict) -> LoraSpec | None:
    """Return the low-rank updates of a configuration; None: none.

    Raises:
      ValueError: unknown maps, blocks that the encoder lacks, or either with another `tuning.method`.
    """
    t = c.tuning
    if t.method != tuning.LORA:
        usual = finetune.finetune().tuning
        for name in OWN:
            if t[name] != usual[name]:
                raise ValueError(
                    f"tuning.{name}: only lora has it, and tuning.method is {t.method}; leave it at {usual[name]!r} "
                    f"(found {t[name]!r}), or set tuning.method to lora"
                )
        return None
    asked = [one_of("tuning.projections", name.strip(), PROJECTIONS) for name in t.projections.split(",")]
    projections = tuple(name for name in PROJECTIONS if name in asked)
    return LoraSpec(t.rank, t.alpha, projections, parse_blocks(t.blocks, SIZES[c.model.size].depth))


def parse_blocks(text: str, depth: int) -> tuple[int, ...] | None:
    """Return the blocks that "0-3,11" names, of an encoder of `depth` blocks; None for "", all.

    Raises:
      ValueError: another text, or a block that there is not.
    """
    if not text:
        return None
    chosen = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if not first <= last < depth:
            raise ValueError(
                f'tuning.blocks: expected blocks from 0 to {depth - 1}, such as "0-{depth - 1}"; found {text!r}'
            )
        chosen |= set(range(first, last + 1))
    return tuple(sorted(chosen))
