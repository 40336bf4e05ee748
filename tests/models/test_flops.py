"""FLOPs of the networks: by hand for tiny ones, and against the products that JAX traces."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from configs import pretrain_vitb, pretrain_vitl
from fsfm_jax.compile_check.hlo import Module
from fsfm_jax.compile_check.products import product_flops
from fsfm_jax.models import flops
from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofSpec
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.models.lora import PROJECTIONS, LoraSpec
from fsfm_jax.models.vit import SIZES, Size
from fsfm_jax.optim import tuning
from fsfm_jax.resolve.pretrain import pretraining_model
from fsfm_jax.tasks.classify import ClassifyTask, ContrastSpec
from fsfm_jax.tasks.normalisation import STATISTICS

TINY = Size(width=8, depth=2, heads=2, patch_size=4)
PLAIN = ClassifierSpec(
    size=TINY, image_size=8, classes=3, pooling="mean_patches", drop_path=0.0, dtype=jnp.float32, remat="none"
)
IMAGES = 3


def traced(function, *arguments) -> float:
    """FLOPs of the products in what JAX traces, before any compiler."""
    lowered = jax.jit(function).lower(*arguments)
    return product_flops(Module.parse(lowered.compiler_ir("hlo").as_hlo_text()))[0]


def block(tokens, width, hidden=4):
    """FLOPs of a transformer block forward: its four maps, `24 T D**2`, and attention, `4 T**2 D`."""
    return 2.0 * tokens * width * width * (4 + 2 * hidden) + 4.0 * tokens * tokens * width


def test_a_block_by_hand():
    # 5 tokens of width 8: queries, keys and values 5 x 8 x 24, logits and mixing 2 x 5 x 5 x 8, output 5 x 8 x 8, and
    # the two maps of the MLP 2 x 5 x 8 x 32 multiply-adds.
    assert block(5, 8) == 2 * (960 + 400 + 320 + 2560)


def test_a_detector_by_hand():
    # 4 patches of 48 numbers; 5 tokens in 2 blocks; 3 classes.
    forward = 2 * 4 * 48 * 8 + 2 * block(5, 8) + 2 * 8 * 3
    assert flops.detector(PLAIN) == forward
    # The pixels need no gradient; everything else is multiplied twice more.
    assert flops.finetuning(PLAIN, ".*") == 3 * forward - 2 * 4 * 48 * 8
    assert flops.finetuning(PLAIN, tuning.TUNINGS["linear_probe"]) == forward + 2 * 8 * 3
    assert flops.finetuning(PLAIN, tuning.TUNINGS["linear_probe"], cached=True) == 2 * 2 * 8 * 3


def test_an_adapter_by_hand():
    spec = dataclasses.replace(PLAIN, reduction=4)
    first, second, project, head = (2 * inputs * outputs for inputs, outputs in ((8, 2), (2, 8), (2, 2), (16, 3)))
    behind = first + second + project + head
    # Inference does without the projector.
    forward = flops.detector(PLAIN) - 2 * 8 * 3 + behind
    assert flops.detector(spec) == forward - project
    # The frozen encoder has no gradient, so the bottleneck's input has none.
    assert flops.finetuning(spec, tuning.TUNINGS[tuning.ADAPTER]) == forward + 2 * behind - first


def test_pretraining_by_hand():
    spec = reference.model_spec(
        size=TINY, image_size=8, seen=1, pixel_width=4, pixel_depth=1, pixel_heads=2, rep_depth=1, rep_heads=2,
        projection_hidden=16, projection_features=6,
    )  # fmt: skip
    embed = 2 * 1 * 48 * 8
    encoder = embed + 2 * block(2, 8)
    pixels = 2 * 2 * 8 * 4 + block(5, 4) + 2 * 4 * 4 * 48
    # Class token, seen patch and one mask token for three; the average is mapped, not the tokens.
    decoder = 2 * 2 * 8 * 8 + block(3, 8) + 2 * 8 * 8
    projector, predictor = 2 * 8 * 16 + 2 * 16 * 6, 2 * 6 * 16 + 2 * 16 * 6
    online = encoder + pixels + decoder + projector + predictor
    target = 2 * 4 * 48 * 8 + 2 * block(5, 8) + 2 * 5 * 8 * 8 + block(5, 8) + 2 * 8 * 8 + projector
    assert flops.pretraining(spec) == 3 * online - embed + target
    plain = dataclasses.replace(spec, instance_discrimination=False)
    assert flops.pretraining(plain) == 3 * (encoder + pixels) - embed


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rep_positions": "sincos", "reconstructs": False},
        {"target_view": "other_visible", "rep_decoded": "online"},
        {"target_view": "masked", "rep_decoded": "neither"},
        {"instance_discrimination": False},
        {"target_view": "masked", "rep_decoded": "regressed"},
    ],
    ids=str,
)
def test_pretraining_is_what_jax_traces(changes):
    task = reference.task(**changes)
    spec = task.model
    params = jax.eval_shape(task.init, jax.random.key(0))
    side = spec.image_size
    masks = {name: jnp.zeros((IMAGES, spec.patches), bool) for name in ("mask", "region_mask", "other_mask")}
    batch = {"image": jnp.zeros((IMAGES, side, side, 3)), **masks}

    def gradient(params, target, batch):
        return jax.grad(lambda p: task.loss(p, target, batch, task.denominators(batch), jax.random.key(0))[0])(params)

    found = traced(gradient, params, task.target_part(params), batch)
    width, pixel_width, tokens = spec.size.width, spec.pixel_width, 1 + spec.patches
    # Left out of the count: the mask token's embedding, forward and both gradients, once a batch; and the means over
    # tokens, at most all of them, forward of both networks and backward of one.
    left_out = 3 * 2 * width * pixel_width + IMAGES * 3 * 2 * tokens * width
    count = IMAGES * flops.pretraining(spec)
    assert count <= found <= count + left_out
    assert left_out < 0.01 * count


def classify_task(model) -> ClassifyTask:
    contrast = None if model.reduction is None else ContrastSpec(0.1, 0.07, 1)
    classes = getattr(model, "classes", 2)
    return ClassifyTask(model, classes, 0.1, False, STATISTICS["vggface2"], erased=False, contrast=contrast)


ANTISPOOF = AntiSpoofSpec(TINY, 8, "tokens", 0.0, 0.0, jnp.float32, "none")
DETECTORS = {
    "full": (PLAIN, "full"),
    "cls": (dataclasses.replace(PLAIN, pooling="cls"), "full"),
    "linear_probe": (PLAIN, "linear_probe"),
    "layer_norm": (PLAIN, "layer_norm"),
    "bias": (PLAIN, "bias"),
    "lora": (dataclasses.replace(PLAIN, lora=LoraSpec(2, 4.0, PROJECTIONS, (1,))), "lora"),
    "fs_adapter": (dataclasses.replace(PLAIN, reduction=4), "fs_adapter"),
    "registers, rotation, layer scale and a gated MLP": (
        dataclasses.replace(PLAIN, style=BASES["dinov3_plus"].style), "full",
    ),
    "relative positions": (dataclasses.replace(PLAIN, style=BASES["beitv2"].style), "full"),
    "bias alone behind a gated MLP": (dataclasses.replace(PLAIN, style=BASES["dinov3_plus"].style), "bias"),
    "added": (dataclasses.replace(PLAIN, reduction=4, insertion="add"), "fs_adapter"),
    "parallel": (dataclasses.replace(PLAIN, reduction=4, insertion="parallel"), "fs_adapter"),
    "sequential": (dataclasses.replace(PLAIN, reduction=4, insertion="sequential"), "fs_adapter"),
    "antispoof": (ANTISPOOF, "full"),
    "antispoof adapter": (dataclasses.replace(ANTISPOOF, norm_over="features", reduction=4), "fs_adapter"),
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_fine_tuning_is_what_jax_traces(name):
    model, method = DETECTORS[name]
    task, trained = classify_task(model), tuning.TUNINGS[method]
    params = jax.eval_shape(task.init, jax.random.key(0))
    part, frozen = tuning.split(params, trained)
    batch = {"image": jnp.zeros((IMAGES, 8, 8, 3), jnp.uint8), "label": jnp.zeros(IMAGES, int)}

    def gradient(part, frozen, batch):
        def loss(part):
            return task.loss(tuning.join(part, frozen), {}, batch, task.denominators(batch), jax.random.key(0))[0]

        return jax.grad(loss)(part)

    found = traced(gradient, part, frozen, batch)
    expected = IMAGES * flops.finetuning(model, trained)
    if model.reduction is not None:
        # Similarities of all pairs of images, forward and both gradients; part of the loss, and not of the count.
        expected += 3 * 2 * IMAGES * IMAGES * 2
    assert found == expected


@pytest.mark.parametrize("name", ["full", "antispoof", "fs_adapter"])
def test_inference_is_what_jax_traces(name):
    model = DETECTORS[name][0]
    network = AntiSpoof(model) if isinstance(model, AntiSpoofSpec) else Classifier(model)
    images = jnp.zeros((IMAGES, 8, 8, 3))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), images, False))
    found = traced(lambda p, x: network.apply(p, x, False).logits, params, images)
    assert found == IMAGES * flops.detector(model)


def test_published_sizes():
    # Multiply-adds of one image of 224 pixels with 1000 classes, as the papers of ViT's and DeiT's code have them.
    for size, published in (("vit_s16_6h", 4.6e9), ("vit_b16", 17.6e9), ("vit_l16", 61.6e9)):
        spec = dataclasses.replace(PLAIN, size=SIZES[size], image_size=224, classes=1000)
        np.testing.assert_allclose(flops.detector(spec) / 2, published, rtol=0.005)


def test_pretraining_costs_what_the_recipes_say():
    base, large = (pretraining_model(recipe.get_config()) for recipe in (pretrain_vitb, pretrain_vitl))
    np.testing.assert_allclose([flops.pretraining(base) / 1e9, flops.pretraining(large) / 1e9], [103.89, 265.66], 1e-4)
