"""Exports of detectors on base models: any as one file, and as weights where the library has such a network."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
import serialized
from networks import WIRINGS

from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.detection.predictor import open_predictor
from fsfm_jax.export import official_content, serialize
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.style import PLAIN
from fsfm_jax.weights.huggingface import classifier_model
from fsfm_jax.weights.plain_arrays import base_named
from fsfm_jax.weights.timm_state import classifier_state, pack_pretrained

OTHERS = [base for base in WIRINGS if BASES[base].style != PLAIN]


def refused(base: str, export) -> None:
    """The export names the base and what to do instead."""
    with pytest.raises(ValueError, match=f"{re.escape(base_named(BASES[base].style))}.*serialize"):
        export()


@pytest.mark.parametrize("base", OTHERS)
def test_a_library_without_the_network_is_told_so_in_a_sentence(base):
    detector = serialized.detector(model__base=base, model__pooling="mean_patches")
    task, model = detector.task, detector.task.model
    encoder = {"encoder": detector.params["encoder"]}
    refused(base, lambda: classifier_state(detector.params, model))
    refused(base, lambda: classifier_model(detector.params, model, task.statistics, ("fake", "real")))
    refused(base, lambda: official_content.rename_finetuned(detector))
    refused(base, lambda: pack_pretrained(encoder, model.size, model.image_size, "avg", model.style))
    # Taken for a plain one they show what they are by their names.
    with pytest.raises(ValueError, match="found one with.*: these parameters belong to another base model"):
        pack_pretrained(encoder, model.size, model.image_size, "avg")


@pytest.mark.parametrize("base", ["dinov3_plus", "beitv2", "pe_core"])
def test_one_file_has_the_scores_of_any_base(base, tmp_path):
    detector, pixels = serialized.detector(model__base=base), serialized.images(3)
    serialize.serialize(detector, str(tmp_path / "detector"))
    opened = open_predictor(str(tmp_path / "detector"), Unsaid(), batch=2)
    want = serialized.live(detector, pixels)
    assert jnp.isfinite(want).all() and want.std(axis=0).min() > 0.01
    np.testing.assert_allclose(opened.log_probabilities(pixels), want, rtol=0, atol=serialized.TOLERANCE)
