"""The fine-tuned classifier against the official one, its start from a pretrained encoder, and drop path."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax.errors import InvalidRngError
from flax.traverse_util import flatten_dict, unflatten_dict
from networks import classifier, count_by_depth, drawn, scaled

from fsfm_jax import losses
from fsfm_jax.models.classifier import Classifier, ClassifierSpec, initialise
from fsfm_jax.models.layers import Block, drop_path, drop_path_rates, sincos_positions
from fsfm_jax.models.positions import resize_positions
from fsfm_jax.models.vit import SIZES, Encoder, Size, patchify
from fsfm_jax.weights.encoder_size import shapes_of
from fsfm_jax.weights.names import CLASSIFIER, finetuned_from_official, finetuned_to_official, official_name

TINY = Size(48, 2, 4, 8)
POOLED = {"plain_gp": "mean_patches", "plain_cls": "cls"}


def spec(pooling="mean_patches", **changes) -> ClassifierSpec:
    fields = dict(
        size=TINY, image_size=32, classes=2, pooling=pooling, drop_path=0.0, dtype=jnp.float32, remat="none"
    )  # fmt: skip
    return ClassifierSpec(**{**fields, **changes})


def fresh(of: ClassifierSpec, seed: int = 0) -> dict:
    """Fresh parameters, with values that tell a kept array from a loaded one."""
    return classifier(of, lambda shapes: drawn(shapes, seed))


@pytest.fixture(scope="module", params=POOLED)
def passed(request, golden):
    """One compiled forward and backward pass of a golden network, with its arrays."""
    arrays = golden("finetune_tiny")
    params = finetuned_from_official(reference.state_dict(arrays, f"{request.param}/state/"), CLASSIFIER)
    network = Classifier(spec(POOLED[request.param]))

    @jax.jit
    def run(params, images, labels, targets):
        def loss(params):
            out = network.apply({"params": params}, images, train=False)
            soft = losses.soft_cross_entropy(out.logits, targets)
            rest = (losses.cross_entropy(out.logits, labels, smoothing) for smoothing in (0.1, 0.0))
            return soft.mean(), (out, soft, *rest)

        return jax.value_and_grad(loss, has_aux=True)(params)

    images = reference.images(arrays["in/images"])
    return reference.state_dict(arrays, f"{request.param}/"), run(
        params, images, arrays["in/labels"], arrays["in/soft_targets"]
    )


def test_outputs_and_losses_equal_the_official_ones(passed):
    arrays, ((_, (out, soft, smooth, plain)), _) = passed
    np.testing.assert_allclose(out.features, arrays["features"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(out.logits, arrays["logits"], rtol=0, atol=2e-5)
    for name, each in (("soft", soft), ("smooth0.1", smooth), ("ce", plain)):
        assert each.shape == (6,)
        np.testing.assert_allclose(each.mean(), arrays[f"loss/{name}"], rtol=1e-5, err_msg=name)


def test_gradient_of_every_parameter_equals_the_official_one(passed):
    arrays, (_, gradients) = passed
    ours = finetuned_to_official(jax.tree.map(np.asarray, gradients), CLASSIFIER, TINY.patch_size)
    official = reference.state_dict(arrays, "grad_soft/")
    assert ours.keys() == official.keys() and len(ours) == 32
    for name, gradient in official.items():
        assert np.linalg.norm(ours[name] - gradient) < 1e-4 * np.linalg.norm(gradient), name


def test_cross_entropies_by_hand():
    logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 1.0]]))  # probabilities 1/4, 3/4 and 1/2, 1/2
    labels = jnp.array([1, 0])
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), -np.log([0.75, 0.5]), rtol=1e-6)
    smooth = -(0.05 * np.log(0.25) + 0.95 * np.log(0.75))
    np.testing.assert_allclose(losses.cross_entropy(logits, labels, 0.1), [smooth, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(losses.smooth_labels(labels, 4, 0.2), [[0.05, 0.85, 0.05, 0.05], [0.85] + 3 * [0.05]])
    # In bfloat16 log 2 would be 0.69140625.
    half = losses.cross_entropy(jnp.zeros((1, 2), jnp.bfloat16), jnp.array([0]))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, [np.log(2)], rtol=1e-6)


def test_images_of_another_size_meet_resized_positions():
    size = dataclasses.replace(TINY, depth=1)
    spec = ClassifierSpec(size, 32, 2, "mean_patches", 0.0, jnp.float32, "none", any_grid=True)
    params = classifier(spec, scaled)
    images = np.random.default_rng(1).normal(size=(2, 48, 48, 3)).astype(np.float32)
    table = params["encoder"]["pos_embed"]
    assert table.shape == (1, 17, 48)

    def logits(spec, encoder):
        tree = {"params": {**params, "encoder": encoder}}
        return jax.jit(lambda x: Classifier(spec).apply(tree, x, False).features)(images)

    encoder = params["encoder"]
    native = dataclasses.replace(spec, image_size=48, any_grid=False)
    resized = {**encoder, "pos_embed": resize_positions(table, 6)}
    np.testing.assert_allclose(logits(spec, encoder), logits(native, resized), rtol=0, atol=1e-6)
    # Unless it is asked for, images of another size are no images of this network.
    with pytest.raises((TypeError, ValueError)):
        logits(dataclasses.replace(spec, any_grid=False), encoder)


def test_focal_losses_by_hand():
    # Probabilities of the labels 3/4 and 1/2; gamma 2 leaves 1/16 and 1/4 of their cross-entropies (equation 4).
    logits, labels = jnp.log(jnp.array([[1.0, 3.0], [1.0, 1.0]])), jnp.array([1, 0])
    found = losses.focal(logits, labels, 2.0)
    np.testing.assert_allclose(found, [-np.log(0.75) / 16, np.log(2) / 4], rtol=1e-6)
    # Equation 5: class 0 counts 0.25, class 1 counts 0.75.
    weighted = losses.focal(logits, labels, 2.0, jnp.array([0.25, 0.75]))
    np.testing.assert_allclose(weighted, np.array([0.75, 0.25]) * found, rtol=1e-6)
    np.testing.assert_array_equal(losses.focal(logits, labels, 0.0), losses.cross_entropy(logits, labels))
    # Certain and right: no loss and a finite gradient, also where the power has none.
    sure = jnp.array([[0.0, 200.0]])
    value, gradient = jax.value_and_grad(lambda x: losses.focal(x, jnp.array([1]), 0.5)[0])(sure)
    assert value == 0 and np.all(gradient == 0)


@pytest.mark.parametrize(
    ("size", "count"),
    [("vit_s16", 21_666_434), ("vit_b16", 85_800_194), ("vit_l16", 303_303_682), ("vit_h14", 630_767_362)],
)
def test_parameter_counts_are_the_published_ones(size, count):
    def counts(size):
        network = Classifier(spec(size=size, image_size=224))
        shapes = shapes_of(network, jnp.zeros((1, 224, 224, 3)), False)
        return [sum(leaf.size for leaf in jax.tree.leaves(shapes))]

    assert count_by_depth(SIZES[size], counts) == [count]


def test_a_fresh_network_starts_at_sine_cosine_positions_and_even_predictions():
    of = spec(classes=4)
    params = jax.jit(lambda: Classifier(of).init(jax.random.key(1), jnp.zeros((1, 32, 32, 3)), train=False))()["params"]
    np.testing.assert_array_equal(params["encoder"]["pos_embed"], sincos_positions(48, 4)[None])
    head = np.asarray(params["head"]["kernel"])
    assert head.shape == (48, 4) and not params["head"]["bias"].any()
    # 192 draws: the deviation is known to 5 %.
    assert 1.7e-5 < head.std() < 2.3e-5
    assert (params["fc_norm"]["scale"] == 1).all() and not params["fc_norm"]["bias"].any()
    assert "norm" not in params["encoder"]


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="model.pooling: expected one of mean_patches, cls; found 'max'"):
        fresh(spec("max"))


# From pretraining to fine-tuning.


@pytest.mark.parametrize("pooling", ["mean_patches", "cls"])
def test_the_report_accounts_for_every_path_as_officially(golden, pooling):
    pretrained, start = reference.parameters(golden("pretrain_tiny"), "online/"), fresh(spec(pooling))
    params, report = initialise(pretrained, start, grid=4)
    flat = {name: flatten_dict(tree, sep="/") for name, tree in (("in", pretrained), ("out", params), ("old", start))}
    # All of the network, and all of pretraining.
    assert sorted(report.loaded + report.new) == sorted(flat["old"]) == sorted(flat["out"])
    assert (set(report.loaded) | report.dropped.keys()) - {"encoder/pos_embed"} == flat["in"].keys()
    assert not set(report.loaded) & report.dropped.keys() and not report.resized
    for path in report.loaded:
        expected = sincos_positions(48, 4)[None] if path == "encoder/pos_embed" else flat["in"][path]
        np.testing.assert_array_equal(flat["out"][path], expected, err_msg=path)
    for path in report.new:
        np.testing.assert_array_equal(flat["out"][path], flat["old"][path], err_msg=path)
    taken = {official_name(path, CLASSIFIER) for path in report.loaded}
    if pooling == "mean_patches":
        official = golden("fas_tiny")
        assert taken == set(official["fas_plain/backbone_keys_taken_from_checkpoint"])
        new = {official_name(path, CLASSIFIER) for path in report.new}
        assert new == {*official["fas_plain/backbone_keys_new"], "head.weight", "head.bias"}
        assert report.dropped["encoder/norm/scale"].startswith("the final norm")
    else:
        assert {"norm.weight", "norm.bias"} < taken and report.new == ("head/bias", "head/kernel")
    assert {path.split("/")[0] for path in report.dropped} >= {"mask_token", "rep_decoder", "projector", "predictor"}


def test_the_summary_names_what_matters(golden):
    pretrained = reference.parameters(golden("pretrain_tiny"), "online/")
    _, report = initialise(pretrained, fresh(spec()), grid=4)
    lines = report.summary().split("\n")
    assert lines[0] == "from pretraining: 28 parameters"
    assert "not used: 2 (the final norm of pretraining; the pooled features have a separate fresh norm)" in lines
    assert lines[-1] == "new: fc_norm/bias, fc_norm/scale, head/bias, head/kernel"


def test_the_loaded_encoder_computes_what_it_computed_in_pretraining(golden):
    arrays = golden("pretrain_tiny")
    pretrained = reference.parameters(arrays, "online/")
    params, _ = initialise(pretrained, fresh(spec("cls")), grid=4)
    images = jnp.asarray(reference.images(arrays["in/images"]))

    @jax.jit
    def both(pretrained, params):
        tokens = Encoder(TINY, 4, jnp.float32, "none").apply({"params": pretrained["encoder"]}, patchify(images, 8))
        return tokens[:, 0], Classifier(spec("cls")).apply({"params": params}, images, train=False).features

    before, after = both(pretrained, params)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)


def test_positions_of_pretraining_are_resized_for_larger_images(golden):
    pretrained, start = reference.parameters(golden("pretrain_tiny"), "online/"), fresh(spec(image_size=48))
    params, report = initialise(pretrained, start, grid=4)
    assert report.resized == ("encoder/pos_embed",) and "encoder/pos_embed" not in report.loaded
    expected = resize_positions(sincos_positions(48, 4)[None], 6)
    np.testing.assert_array_equal(params["encoder"]["pos_embed"], expected)
    # Not what a fresh table of the new grid would be: the patches of both grids cover the same face.
    assert np.abs(expected - sincos_positions(48, 6)[None]).max() > 0.1
    # Positions that were learnt go on from where they are.
    learnt = np.random.default_rng(1).normal(size=(1, 17, 48)).astype(np.float32)
    pretrained["encoder"]["pos_embed"] = learnt
    params, _ = initialise(pretrained, start, grid=99)
    np.testing.assert_array_equal(params["encoder"]["pos_embed"], resize_positions(learnt, 6))


def test_what_does_not_fit_is_named_in_full(golden):
    flat = flatten_dict(reference.parameters(golden("pretrain_tiny"), "online/"), sep="/")
    start = flatten_dict(fresh(spec()), sep="/")
    flat["encoder/cls_token"] = np.zeros((1, 1, 40), np.float32)
    flat["encoder/block_00/norm1/bias"] = flat["encoder/block_00/norm1/bias"].astype(jnp.bfloat16)
    del flat["encoder/block_01/mlp/fc1/kernel"]
    flat["encoder/block_02/norm1/bias"] = np.zeros(48, np.float32)
    flat["memory_bank"] = np.zeros(3, np.float32)
    start["tail/kernel"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="6 differences") as error:
        initialise(unflatten_dict(flat, sep="/"), unflatten_dict(start, sep="/"), grid=4)
    for line in (
        "encoder/cls_token: expected float32[1, 1, 48]; found float32[1, 1, 40] in pretraining",
        "encoder/block_00/norm1/bias: expected float32[48]; found bfloat16[48] in pretraining",
        "encoder/block_01/mlp/fc1/kernel: not in the pretrained parameters",
        "encoder/block_02/norm1/bias: in the pretrained parameters, but unknown to the network",
        "memory_bank: in the pretrained parameters, but unknown to the network",
        "tail/kernel: not a known part of a fine-tuned network",
    ):
        assert line in str(error.value)


# Drop path.


def test_drop_path_rates_are_the_official_ones(golden):
    official = golden("schedules")["groups/vit_base_patch16_global_pool/drop_path_rates"]
    np.testing.assert_allclose(drop_path_rates(0.1, 12), official, rtol=1e-6)
    with pytest.raises(ValueError, match="drop_path: .* found 1"):
        drop_path_rates(1.0, 12)


def test_drop_path_removes_whole_images_and_keeps_the_mean():
    x = jax.random.normal(jax.random.key(0), (4000, 2, 3))
    dropped = np.asarray(jax.jit(drop_path, static_argnums=1)(x, 0.2, jax.random.key(1)))
    gone = (dropped == 0).all((1, 2))
    np.testing.assert_allclose(dropped[~gone], np.asarray(x)[~gone] / 0.8, rtol=1e-6)
    # 4000 draws at 0.2: standard error 0.0063.
    assert abs(gone.mean() - 0.2) < 4 * 0.0063


def test_the_two_branches_of_a_block_are_dropped_apart():
    # Attention that always adds 1 and an MLP that always adds 10.
    block, x = Block(2, jnp.float32, drop_path=0.5), np.zeros((400, 1, 8), np.float32)
    rngs = {"params": jax.random.key(0), "drop_path": jax.random.key(0)}
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), jax.eval_shape(block.init, rngs, x)["params"])
    params["attn"]["proj"]["bias"] += 1
    params["mlp"]["fc2"]["bias"] += 10
    out = np.asarray(jax.jit(block.apply)({"params": params}, x, rngs={"drop_path": jax.random.key(3)}))
    found, count = np.unique(out[:, 0, 0], return_counts=True)
    np.testing.assert_array_equal(found, [0, 2, 20, 22])  # half of them gone, the rest doubled
    assert (out == out[:, :1, :1]).all()
    # A quarter of 400 images each: standard error 8.7.
    assert np.abs(count - 100).max() < 35


@pytest.fixture(scope="module")
def trained():
    """Logits of a tiny network with drop path: `logits(remat, key)`, compiled twice; parameters; images."""
    images = jax.random.normal(jax.random.key(5), (16, 32, 32, 3))
    params = fresh(spec(drop_path=0.5), seed=3)

    def run(remat):
        network = Classifier(spec(drop_path=0.5, remat=remat))

        def loss(params, key):
            logits = network.apply({"params": params}, images, train=True, rngs={"drop_path": key}).logits
            return jnp.sum(logits), logits

        return jax.jit(jax.grad(loss, has_aux=True))

    return {remat: run(remat) for remat in ("none", "full")}, params, images


def test_drop_path_is_a_function_of_its_key_and_only_for_training(trained):
    run, params, images = trained
    logits = [run["none"](params, jax.random.key(seed))[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.abs(logits[0] - logits[2]).max() > 0.1
    quiet, plain = (
        jax.jit(Classifier(spec(drop_path=rate)).apply, static_argnames="train")(
            {"params": params}, images, train=False
        )
        for rate in (0.5, 0.0)
    )
    np.testing.assert_array_equal(quiet.logits, plain.logits)
    assert np.abs(logits[0] - quiet.logits).max() > 0.1


def test_rematerialisation_draws_the_same_again(trained):
    run, params, _ = trained
    for kept, computed in zip(*(jax.tree.leaves(run[remat](params, jax.random.key(0))) for remat in run), strict=True):
        np.testing.assert_allclose(computed, kept, rtol=1e-5, atol=1e-4)


def test_training_without_the_stream_is_an_error():
    of = spec(drop_path=0.5)
    with pytest.raises(InvalidRngError, match="drop_path"):
        jax.eval_shape(lambda: Classifier(of).apply({"params": fresh(of)}, jnp.zeros((1, 32, 32, 3)), train=True))
