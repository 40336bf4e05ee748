"""The views of both networks that a pretraining configuration asks for."""

import dataclasses

from ml_collections import ConfigDict

from fsfm_jax.config.fields import one_of
from fsfm_jax.data.views import WHOLE, ViewSpec
from fsfm_jax.models.fsfm import MASKED, ModelSpec

WORDS = tuple(field.name for field in dataclasses.fields(ViewSpec))
# "simple" and "strong" as the supplement uses the words.
SHORT = {"none": (), "simple": ("crop", "flip"), "strong": ("crop", "flip", "colour")}
FIELDS = ("data.augment_online", "data.augment_target")


def resolve_views(c: ConfigDict, model: ModelSpec) -> tuple[ViewSpec, ViewSpec | None]:
    """Return the online view and that of the target; None where the target has the photo of the online network.

    Raises:
      ValueError: a word that is not known, two fields for the online view, a view without a target network, or one in
        which the patches of the target's mask would lie elsewhere.
    """
    first, second = FIELDS
    online = parse_view(first, c.data.augment_online or ("simple" if c.data.augment else "none"))
    if c.data.augment and c.data.augment_online:
        raise ValueError(f"{first}: data.augment decides it as well; set one of them (found {c.data.augment_online!r})")
    if not c.data.augment_target:
        return online, None
    target = parse_view(second, c.data.augment_target)
    if not model.instance_discrimination:
        raise ValueError(f"{second}: without model.instance_discrimination there is no target network; leave it empty")
    if model.target_view == MASKED and (online.moves or target.moves):
        raise ValueError(
            f"{second}: model.target_view {c.model.target_view} shows the target the patches that are hidden from the "
            "online network, so both have to see one crop of the face; leave crop and flip out of both, or leave this "
            "field empty"
        )
    return online, None if online == target == WHOLE else target


def parse_view(field: str, text: str) -> ViewSpec:
    """Return the view that a field asks for: one of `SHORT`, or some of `WORDS` with commas.

    Raises:
      ValueError: another word, or one twice.
    """
    allowed = WORDS if "," in text else (*SHORT, *WORDS)
    found = [one_of(field, word.strip(), allowed) for word in text.split(",")]
    words = [word for short in found for word in (SHORT[short] if short in SHORT else [short])]
    if len(set(words)) < len(words):
        raise ValueError(f"{field}: expected each word once; found {text!r}")
    return ViewSpec(**dict.fromkeys(words, True))
