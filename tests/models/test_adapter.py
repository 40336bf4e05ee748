"""FS-Adapter against the official networks: outputs, losses, gradients, start, sizes, and the other tunings."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax.traverse_util import flatten_dict, unflatten_dict
from gradients import check_gradient, drawn
from jax import enable_x64
from networks import count_by_depth, scaled, zeros

from fsfm_jax import losses
from fsfm_jax.models.adapter import INSERTIONS
from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofSpec
from fsfm_jax.models.block_adapter import BlockAdapterSpec, add_adapter
from fsfm_jax.models.classifier import Classifier, ClassifierSpec, PooledEncoder, initialise
from fsfm_jax.models.lora import PROJECTIONS, LoraSpec, merge
from fsfm_jax.models.vit import SIZES, Size
from fsfm_jax.optim import tuning
from fsfm_jax.weights.names import (
    ANTISPOOF_ADAPTER,
    CLASSIFIER_ADAPTER,
    finetuned_from_official,
    finetuned_to_official,
    official_name,
)

TINY = Size(48, 2, 4, 8)
SHARED = dict(size=TINY, image_size=32, drop_path=0.0, dtype=jnp.float32, remat="none", reduction=4)
CLASSIFIER_SPEC = ClassifierSpec(classes=2, pooling="mean_patches", **SHARED)
ANTISPOOF_SPEC = AntiSpoofSpec(norm_over="features", dropout=0.5, **SHARED)
NETWORKS = {
    "adapter": ("finetune_tiny", "state/", Classifier(CLASSIFIER_SPEC), CLASSIFIER_ADAPTER),
    "fas_adapter": ("fas_tiny", "state_before/", AntiSpoof(ANTISPOOF_SPEC), ANTISPOOF_ADAPTER),
}


@pytest.fixture(scope="module", params=NETWORKS)
def passed(request, golden):
    """One compiled forward and backward pass: kind, arrays, parameters, loss and its terms, output, gradient, and the
    logits from stored features."""
    file, state, network, table = NETWORKS[request.param]
    everything = golden(file)
    arrays = reference.state_dict(everything, f"{request.param}/")
    params = finetuned_from_official(reference.state_dict(arrays, state), table)
    images, labels = reference.images(everything["in/images"]), everything["in/labels"]

    @jax.jit
    def run(params):
        def loss(params):
            out = network.apply({"params": params}, images, train=False)
            if request.param == "adapter":
                first = losses.soft_cross_entropy(out.logits, everything["in/soft_targets"]).mean()
            else:
                first = losses.cross_entropy(out.logits, labels).mean()
            contrast = losses.real_anchor(out.contrast, labels, 1, 0.07).mean()
            return first + 0.1 * contrast, (out, first, contrast)

        parts = {name: params[name] for name in ("encoder", "fc_norm")}
        features = PooledEncoder(network.spec).apply({"params": parts}, images, False)
        head = {name: value for name, value in params.items() if name not in parts}
        stored = network.apply({"params": head}, None, False, features).logits
        return jax.value_and_grad(loss, has_aux=True)(params), stored

    ((total, (out, first, contrast)), gradient), stored = run(params)
    return request.param, arrays, params, (total, first, contrast), out, gradient, stored


def test_outputs_equal_the_official_ones(passed):
    kind, arrays, _, _, out, _, stored = passed
    for logits in (out.logits, stored):  # stored features stand for the images
        np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=2e-5)
    name = {"adapter": "projection", "fas_adapter": "adapter_features"}[kind]
    np.testing.assert_allclose(out.contrast, arrays[name], rtol=0, atol=2e-5)
    if kind == "fas_adapter":
        np.testing.assert_allclose(out.features[:, 0], arrays["feature"], rtol=0, atol=2e-5)


def test_losses_equal_the_official_ones(passed):
    kind, arrays, _, (total, first, contrast), *_ = passed
    names = ("loss_total", "loss_cls_soft", "loss_con_real1") if kind == "adapter" else ("loss_eval_mode",)
    for name, value in zip(names, (total, first, contrast), strict=False):
        np.testing.assert_allclose(value, arrays[name], rtol=1e-5, err_msg=name)


def test_gradient_of_every_parameter_equals_the_official_one(passed):
    kind, arrays, params, *_, gradient, _ = passed
    table = NETWORKS[kind][3]
    ours = finetuned_to_official(jax.tree.map(np.asarray, gradient), table, TINY.patch_size)
    expected = reference.state_dict(arrays, {"adapter": "grad_total/", "fas_adapter": "grad_eval_mode/"}[kind])
    assert len(expected) > 30 and expected.keys() <= ours.keys()
    for name, official in expected.items():
        assert np.linalg.norm(ours[name] - official) < 1e-4 * np.linalg.norm(official), name
    # Names are added, none is changed; what is there without use is left out.
    state = reference.state_dict(arrays, NETWORKS[kind][1])
    assert ours.keys() | table.unused.keys() == state.keys()
    back = finetuned_to_official(params, table, TINY.patch_size)
    for name in back:
        np.testing.assert_array_equal(back[name], state[name], err_msg=name)


def shapes_of(network, size=224):
    return jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False))["params"]


@pytest.mark.parametrize(
    ("size", "classifier", "antispoof", "whole"),
    [
        ("vit_s16", 84_578, 477_794, 21_750_242),
        ("vit_b16", 335_042, 1_119_938, 86_133_698),
        ("vit_l16", 594_178, 1_640_194, 303_895_810),
    ],
)
def test_trained_parameters_are_the_published_ones(size, classifier, antispoof, whole):
    def counts(size):
        shared = SHARED | dict(size=size, image_size=224)
        networks = (
            Classifier(ClassifierSpec(classes=2, pooling="mean_patches", **shared)),
            AntiSpoof(AntiSpoofSpec(norm_over="features", dropout=0.5, **shared)),
        )
        shapes = [shapes_of(network) for network in networks]
        trained = [tuning.split(tree, tuning.TUNINGS["fs_adapter"])[0] for tree in shapes]
        return [tuning.count(tree) for tree in (*trained, shapes[0])]

    assert count_by_depth(SIZES[size], counts) == [classifier, antispoof, whole]


def test_what_the_recipe_trains_is_what_the_released_code_trains(golden):
    group = reference.state_dict(golden("schedules"), "groups/vit_base_patch16_fs_adapter/")
    official = {str(name) for name, on in zip(group["names"], group["peft_trainable"], strict=True) if on}
    trained, frozen = tuning.split(shapes_of(Classifier(CLASSIFIER_SPEC), 32), tuning.TUNINGS["fs_adapter"])
    assert {official_name(path, CLASSIFIER_ADAPTER) for path in flatten_dict(trained, sep="/")} == official
    assert "fc_norm" in frozen and "head" not in frozen


def test_the_start_is_that_of_pytorch():
    wide = ClassifierSpec(classes=2, pooling="mean_patches", **SHARED | dict(size=Size(192, 1, 4, 8)))
    params = jax.jit(lambda: Classifier(wide).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))()
    params = params["params"]
    # Uniform up to 1 / sqrt(fan in): of n draws the largest lies within a few 1/n, the deviation is bound / sqrt 3.
    for path, fan_in in {
        "adapter/linear1/kernel": 192, "adapter/linear2/kernel": 48, "projector/kernel": 48, "projector/bias": 48,
        "head/bias": 384,
    }.items():  # fmt: skip
        values, bound = np.asarray(flatten_dict(params, sep="/")[path]), fan_in**-0.5
        assert np.abs(values).max() <= bound and values.std() > 0, path
        if values.size > 1000:
            assert np.abs(values).max() > 0.99 * bound, path
            np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=4 / np.sqrt(values.size), err_msg=path)
    assert params["head"]["kernel"].shape == (384, 2) and 1.7e-5 < np.asarray(params["head"]["kernel"]).std() < 2.3e-5
    assert params["adapter"]["linear1"].keys() == params["adapter"]["linear2"].keys() == {"kernel"}


def test_open_units_are_those_that_some_image_passes():
    # Two units of a width of eight: the first passes on the second image alone, the other on none.
    features = np.zeros((3, 8), np.float32)
    features[:, 0], features[:, 1] = (-1, 2, -1), 1
    network = Classifier(ClassifierSpec(classes=2, pooling="mean_patches", **SHARED | dict(reduction=4)))
    params, run = zeros(network, None, False, features), jax.jit(network.apply, static_argnums=(1, 2))
    kernel = params["adapter"]["linear1"]["kernel"]
    assert kernel.shape == (8, 2)
    kernel[0, 0], kernel[1, 1] = 1, -1
    assert run({"params": params}, None, False, features).open_units == 0.5
    kernel[0, 0] = 0
    assert run({"params": params}, None, False, features).open_units == 0


# Where else the bottleneck may stand.


def inserted(place, **changes):
    return Classifier(ClassifierSpec(classes=2, pooling="mean_patches", **SHARED | dict(insertion=place) | changes))


def test_an_added_bottleneck_by_hand():
    # A width of 2 and a bottleneck of 1: b = relu(3 - 2) = 1, a = (relu(4), relu(-5)) = (4, 0), f + a = (7, -2).
    features = np.array([[3.0, -2.0]], np.float32)
    network = inserted("add", size=Size(2, 1, 1, 8), reduction=2)
    params, run = zeros(network, None, False, features), jax.jit(network.apply, static_argnums=(1, 2))
    params["adapter"]["linear1"]["kernel"][:] = 1
    params["adapter"]["linear2"]["kernel"][:] = [[4, -5]]
    params["head"]["kernel"][:] = np.eye(2)
    params["projector"]["kernel"][:] = -2
    found = run({"params": params}, None, False, features)
    np.testing.assert_array_equal(found.logits, [[7, -2]])
    np.testing.assert_array_equal(found.contrast, [[-1]])  # of b, in unit rows
    assert found.open_units == 1


@pytest.mark.parametrize(("place", "expected"), [("parallel", [16, 17]), ("sequential", [70, -10])])
def test_a_bottleneck_in_a_block_by_hand(place, expected):
    class Part(nn.Module):
        @nn.compact
        def __call__(self, before, after):
            return add_adapter(BlockAdapterSpec(place, 2), before, after, jnp.float32)

    # relu(1 + 2) = 3 or relu(10 + 20) = 30, times (2, -1), and added to what the MLP gives.
    before, after = np.float32([[[1.0, 2.0]]]), np.float32([[[10.0, 20.0]]])
    params = jax.jit(Part().init)(jax.random.key(0), before, after)["params"]
    np.testing.assert_array_equal(params["adapter"]["linear2"]["kernel"], [[0, 0]])
    params = {"adapter": {"linear1": {"kernel": np.ones((2, 1))}, "linear2": {"kernel": np.array([[2.0, -1.0]])}}}
    np.testing.assert_array_equal(jax.jit(Part().apply)({"params": params}, before, after)[0, 0], expected)


@pytest.mark.parametrize("place", ["parallel", "sequential"])
def test_blocks_start_as_the_frozen_ones_and_keep_their_names(place):
    network, images = inserted(place), np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    plain = Classifier(ClassifierSpec(classes=2, pooling="mean_patches", **SHARED | dict(reduction=None)))
    params = scaled(shapes_of(network, 32))
    for block in ("block_00", "block_01"):
        params["encoder"][block]["adapter"]["linear2"]["kernel"] *= 0  # as above
    trained, frozen = tuning.split(params, tuning.TUNINGS["fs_adapter"])
    depth, width, narrow = 2, 48, 12
    assert tuning.count(trained) == depth * 2 * width * narrow + (width * narrow + narrow) + (2 * width + 2)
    without = shapes_of(plain, 32)
    assert flatten_dict(frozen).keys() == flatten_dict({k: without[k] for k in ("encoder", "fc_norm")}).keys()

    @functools.partial(jax.jit, static_argnums=0)
    def features(network, params):
        return network.apply({"params": params}, images, False).features

    np.testing.assert_array_equal(features(network, params), features(plain, {**frozen, "head": params["head"]}))
    # The second map is zero and learns all the same; behind a ReLU it would not.
    learns = jax.jit(jax.grad(lambda part: jnp.sum(features(network, tuning.join(part, frozen))[:, :9] ** 2)))
    gradient = learns(trained)
    assert all(np.any(gradient["encoder"][name]["adapter"]["linear2"]["kernel"]) for name in ("block_00", "block_01"))


@pytest.mark.parametrize("place", INSERTIONS)
def test_gradients_of_every_insertion_are_those_of_its_values(place):
    with enable_x64(True):
        network = inserted(place, size=Size(8, 1, 2, 8), image_size=16, dtype=jnp.float64)
        images = np.asarray(drawn(3, 16, 16, 3))
        params = jax.tree.map(np.float64, scaled(shapes_of(network, 16)))
        part, frozen = tuning.split(params, tuning.TUNINGS["fs_adapter"])

        def run(part):
            found = network.apply({"params": tuning.join(part, frozen)}, images, False)
            return found.logits, found.contrast

        check_gradient(run, part, tolerance=1e-7)  # no ReLU is as near to 0 as the difference


def test_anti_spoofing_over_tokens_has_adapters_in_blocks_alone():
    spoof = AntiSpoof(AntiSpoofSpec(norm_over="tokens", dropout=0.5, **SHARED | dict(insertion="parallel")))
    assert "adapter" in shapes_of(spoof, 32)["encoder"]["block_01"]
    for place in ("concat", "add"):
        bad = AntiSpoof(AntiSpoofSpec(norm_over="tokens", dropout=0.5, **SHARED | dict(insertion=place)))
        with pytest.raises(ValueError, match="model.norm_over: expected features, since an adapter and stored"):
            shapes_of(bad, 32)


@pytest.mark.parametrize("place", ["concat", "parallel"])
def test_a_bottleneck_must_divide_the_width(place):
    with pytest.raises(ValueError, match="tuning.reduction: expected a divisor of the width 48; found 5"):
        shapes_of(inserted(place, reduction=5), 32)


def test_an_adapter_starts_from_pretraining_as_officially(golden):
    pretrained = reference.parameters(golden("pretrain_tiny"), "online/")
    start = jax.tree.map(lambda x: np.full(x.shape, 7, np.float32), shapes_of(AntiSpoof(ANTISPOOF_SPEC), 32))
    params, report = initialise(pretrained, start, grid=4)
    official = golden("fas_tiny")
    taken = {official_name(path, ANTISPOOF_ADAPTER).removeprefix("backbone.vit.") for path in report.loaded}
    assert taken == set(official["fas_adapter/backbone_keys_taken_from_checkpoint"])
    # The projector of pretraining is another one: it is left out, and ours stays fresh.
    assert "projector/fc1/kernel" in report.dropped and (params["projector"]["kernel"] == 7).all()


# The tunings that FS-Adapter is compared with.


def lora_spec():
    return ClassifierSpec(classes=2, pooling="mean_patches", **SHARED | dict(reduction=None, lora=LoraSpec(2, 8.0)))


def test_each_tuning_trains_what_its_name_says():
    plain = ClassifierSpec(classes=2, pooling="mean_patches", **SHARED | dict(reduction=None))
    tree = shapes_of(Classifier(plain), 32)
    counts = {name: tuning.count(tuning.split(tree, tuning.TUNINGS[name])[0]) for name in tuning.TUNINGS}
    head, width, depth = 2 * 48 + 2, 48, 2
    norms = (2 * depth + 1) * 2 * width
    biases = depth * (2 + 3 + 1 + 4 + 1) * width + 2 * width  # norms, qkv, proj, fc1, fc2; patches and fc_norm
    expected = {"full": tuning.count(tree), "linear_probe": head, "layer_norm": norms + head, "bias": biases + head}
    assert {name: counts[name] for name in expected} == expected
    low_rank = tuning.split(shapes_of(Classifier(lora_spec()), 32), tuning.TUNINGS["lora"])[0]
    assert tuning.count(low_rank) == depth * 2 * (width + 3 * width) + head


def test_splitting_and_joining_is_the_identity():
    tree = {"encoder": {"norm1": {"scale": 1, "bias": 2}, "attn": {"kernel": 3, "bias_table": 5}}, "head": {"bias": 4}}
    for rule in tuning.TUNINGS.values():
        trained, frozen = tuning.split(tree, rule)
        assert tuning.join(trained, frozen) == tree
        assert not flatten_dict(trained).keys() & flatten_dict(frozen).keys()
    assert tuning.split(tree, tuning.TUNINGS["bias"])[1] == {
        "encoder": {"norm1": {"scale": 1}, "attn": {"kernel": 3, "bias_table": 5}}
    }


@pytest.mark.parametrize("lora", [LoraSpec(2, 8.0), LoraSpec(2, 8.0, PROJECTIONS, (1,))])
def test_lora_starts_as_the_frozen_network_and_merges_into_one(lora):
    spec = dataclasses.replace(lora_spec(), lora=lora)
    network, images = Classifier(spec), np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    plain = ClassifierSpec(classes=2, pooling="mean_patches", **SHARED | dict(reduction=None))
    params = jax.jit(lambda: network.init(jax.random.key(0), images, train=False))()["params"]

    @functools.partial(jax.jit, static_argnums=0)
    def features(network, params):
        return network.apply({"params": params}, images, train=False).features

    at_start = merge(params, lora)
    np.testing.assert_array_equal(features(network, params), features(Classifier(plain), at_start))
    flat = flatten_dict(params, sep="/")
    updated = {path.removesuffix("/lora_up"): value.shape for path, value in flat.items() if path.endswith("/lora_up")}
    maps = ("attn/qkv", "attn/proj", "mlp/fc1", "mlp/fc2")
    chosen = [f"encoder/block_0{index}/attn/qkv" for index in range(2)]
    if lora.blocks:
        chosen = [f"encoder/block_01/{name}" for name in maps]
    assert sorted(updated) == sorted(chosen)
    for number, (layer, shape) in enumerate(updated.items()):
        flat[f"{layer}/lora_up"] = np.random.default_rng(number).normal(0, 0.1, shape).astype(np.float32)
    params = unflatten_dict(flat, sep="/")
    up = params["encoder"]["block_01"]["attn"]["qkv"]
    together = merge(params, lora)
    assert not [path for path in flatten_dict(together, sep="/") if "lora" in path]
    # alpha / rank = 4.
    expected = up["kernel"] + 4 * np.asarray(up["lora_down"], np.float64) @ np.asarray(up["lora_up"], np.float64)
    np.testing.assert_allclose(together["encoder"]["block_01"]["attn"]["qkv"]["kernel"], expected, rtol=0, atol=1e-6)
    moved = features(network, params)
    np.testing.assert_allclose(moved, features(Classifier(plain), together), rtol=0, atol=2e-5)
    assert np.abs(moved - features(Classifier(plain), at_start)).max() > 1e-3
