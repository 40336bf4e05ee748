"""The networks against the official modules, number by number, and what must not depend on what."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import enable_x64
from light_compiling import AS_FOR_USERS
from networks import count_by_depth, drawn

from fsfm_jax import losses
from fsfm_jax.models.decoders import RepresentationDecoder, view_of
from fsfm_jax.models.fsfm import OnlineNetwork, TargetNetwork
from fsfm_jax.models.heads import ProjectionHead, l2_normalise
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.models.ops import trace_for
from fsfm_jax.models.vit import SIZES, Encoder, Size, patchify, unpatchify
from fsfm_jax.weights.names import to_official

# float32 against float32 of another framework: a few hundred roundings of 6e-8 in a chain.
ACTIVATION = 2e-5
LOSS = 1e-5
GRADIENT = 1e-4


@pytest.fixture(scope="module")
def compiled():
    """One compiled pass through both networks, with the gradient of the loss in both sets of parameters."""
    task = reference.task()

    # The golden numbers are those of the program that users run.
    @functools.partial(jax.jit, compiler_options=AS_FOR_USERS)
    def run(online, target, batch):
        patches = task.patches(batch["image"])
        outputs = OnlineNetwork(task.model).apply({"params": online}, patches, batch["mask"])
        projection = TargetNetwork(task.model).apply({"params": target}, patches, batch["mask"], batch["mask"])
        loss = jax.value_and_grad(task.loss, argnums=(0, 1), has_aux=True)(
            online, target, batch, task.denominators(batch), jax.random.key(0)
        )
        return outputs, projection, loss

    return run


@pytest.fixture(scope="module")
def forward(golden, compiled):
    """Everything that the golden file has of one forward and backward pass."""
    arrays = golden("pretrain_tiny")
    online, target = reference.parameters(arrays, "online/"), reference.parameters(arrays, "target/")
    return arrays, reference.task(), compiled(online, target, reference.batch(arrays))


def test_outputs_equal_the_official_ones(forward):
    arrays, _, (outputs, projection, _) = forward
    np.testing.assert_allclose(outputs.pixels, arrays["out/pred"], rtol=0, atol=ACTIVATION)
    np.testing.assert_allclose(l2_normalise(outputs.prediction), arrays["out/features_online"], rtol=0, atol=ACTIVATION)
    np.testing.assert_allclose(l2_normalise(projection), arrays["out/features_target"], rtol=0, atol=ACTIVATION)


def test_losses_equal_the_official_ones(forward):
    arrays, task, (outputs, _, ((loss, terms), _)) = forward
    np.testing.assert_allclose(terms["masked"], arrays["out/loss_rec_all"], rtol=LOSS)
    np.testing.assert_allclose(terms["region"], arrays["out/loss_rec_sfr"], rtol=LOSS)
    # A mean of cosines of both signs: what is left of them is small, their rounding is that of each.
    cosines = np.sum(arrays["out/features_online"] * arrays["out/features_target"], axis=1)
    rounding = LOSS * np.mean(np.abs(cosines)) / 2
    np.testing.assert_allclose(terms["instance"], arrays["out/loss_cl/SimSiam"], rtol=0, atol=rounding)
    np.testing.assert_allclose(loss, arrays["out/loss_total_SimSiam"], rtol=LOSS)
    raw = dataclasses.replace(task, loss_spec=dataclasses.replace(task.loss_spec, normalise_pixels=False))
    batch = reference.batch(arrays)
    goal = raw.goal(raw.patches(batch["image"]))
    for mask, name in (("mask", "loss_rec_all"), ("region_mask", "loss_rec_sfr")):
        error = losses.masked_reconstruction(outputs.pixels, goal, batch[mask])
        np.testing.assert_allclose(error.total / batch[mask].sum(), arrays[f"out/{name}_no_norm_pix"], rtol=LOSS)


def test_gradient_of_every_parameter_equals_the_official_one(forward):
    arrays, task, (_, _, (_, (gradients, _))) = forward
    ours = to_official(jax.tree.map(np.asarray, gradients), task.model)
    official = reference.state_dict(arrays, "out/grad/")
    assert len(official) == 102
    assert ours.keys() - official.keys() == {"pos_embed", "rep_decoder_pos_embed", "decoder_pos_embed"}
    for name, gradient in official.items():
        error = np.linalg.norm(ours[name] - gradient) / np.linalg.norm(gradient)
        assert error < GRADIENT, f"{name}: {error}"


def test_the_form_for_tpus_has_the_official_losses_and_gradients(golden):
    arrays = golden("pretrain_tiny")
    task, batch = reference.task(), reference.batch(arrays)
    online, target = (reference.parameters(arrays, f"{name}/") for name in ("online", "target"))
    batch["image"] = batch["image"].reshape(*batch["image"].shape[:2], -1)  # rows, as a run sends them
    with trace_for("tpu"):
        lowered = jax.jit(jax.value_and_grad(task.loss, has_aux=True)).lower(
            online, target, batch, task.denominators(batch), jax.random.key(0)
        )
    assert "optimization_barrier" in lowered.as_text()
    (loss, _), gradients = lowered.compile()(online, target, batch, task.denominators(batch), jax.random.key(0))
    np.testing.assert_allclose(loss, arrays["out/loss_total_SimSiam"], rtol=LOSS)
    ours = to_official(jax.tree.map(np.asarray, gradients), task.model)
    for name, gradient in reference.state_dict(arrays, "out/grad/").items():
        error = np.linalg.norm(ours[name] - gradient) / np.linalg.norm(gradient)
        assert error < GRADIENT, f"{name}: {error}"


def test_float64_agrees_to_float64(golden):
    # The same graph in double precision leaves no room for a wrong formula that float32 would hide.
    arrays = golden("pretrain_tiny")
    with enable_x64(True):
        task = reference.task(jnp.float64)
        online, target = (reference.parameters(arrays, f"{name}/", jnp.float64) for name in ("online", "target"))
        batch = reference.batch(arrays, jnp.float64)
        (loss, terms), gradients = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(
            online, target, batch, task.denominators(batch), jax.random.key(0)
        )
        np.testing.assert_allclose(loss, arrays["out64/loss_total_SimSiam"], rtol=1e-12)
        np.testing.assert_allclose(terms["region"], arrays["out64/loss_rec_sfr"], rtol=1e-12)
        ours = to_official(jax.tree.map(np.asarray, gradients), task.model)
    norms = [np.linalg.norm(ours[name]) for name in arrays["out64/grad_names"]]
    np.testing.assert_allclose(norms, arrays["out64/grad_norms"], rtol=1e-11)


def test_a_batch_without_any_region_patch_has_region_loss_zero(golden, compiled):
    arrays = golden("pretrain_tiny")
    assert np.isnan(arrays["empty_region/loss_rec_sfr"])  # what the official code makes of it
    # Two images without hidden patches fill the batch up to the compiled size; they enter no ratio.
    fill = ((0, 2), (0, 0))
    batch = {
        "image": jnp.pad(jnp.asarray(reference.images(arrays["empty_region/images"])), (*fill, (0, 0), (0, 0))),
        "mask": jnp.pad(jnp.asarray(arrays["empty_region/img_mask"] > 0), fill),
        "region_mask": jnp.pad(jnp.asarray(arrays["empty_region/fr_mask"] > 0), fill),
    }
    *_, ((_, terms), gradients) = compiled(
        reference.parameters(arrays, "online/"), reference.parameters(arrays, "target/"), batch
    )
    np.testing.assert_allclose(terms["masked"], arrays["empty_region/loss_rec_all"], rtol=LOSS)
    assert terms["region"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("size", "online", "target", "encoder"),
    [
        ("vit_b16", 133_330_944, 105_516_032, 85_798_656),
        ("vit_l16", 363_898_624, 336_053_504, 303_301_632),
    ],
)  # the encoders of the other sizes: test_classifier.py
def test_parameter_counts_are_the_published_ones(size, online, target, encoder):
    shape = SIZES[size]
    grid = 224 // shape.patch_size
    spec = reference.model_spec(
        size=shape, image_size=224, seen=grid**2 // 4, pixel_width=512, pixel_depth=8, pixel_heads=16,
        rep_heads=16, projection_hidden=4096, projection_features=256,
    )  # fmt: skip
    task = dataclasses.replace(reference.task(), model=spec)
    positions = (grid**2 + 1) * shape.width  # fixed tables: the official counts hold them

    def counts(size):
        model = dataclasses.replace(task.model, size=size)
        params = jax.eval_shape(dataclasses.replace(task, model=model).init, jax.random.key(0))
        parts = params, task.target_part(params), params["encoder"]
        return [sum(leaf.size for leaf in jax.tree.leaves(part)) for part in parts]

    assert count_by_depth(shape, counts) == [online, target - 2 * positions, encoder - positions]


def test_initialisation_follows_the_official_distributions(golden):
    arrays = golden("schedules")
    grid = dict(
        zip(
            arrays["init/fsfm_vit_small_patch16/names"],
            arrays["init/fsfm_vit_small_patch16/mean_std_min_max"],
            strict=True,
        )
    )
    # Blocks are alike: two in the encoder and one in each decoder.
    spec = reference.model_spec(
        size=dataclasses.replace(SIZES["vit_s16"], depth=2), image_size=224, seen=49, pixel_width=512, pixel_depth=1,
        pixel_heads=16, rep_depth=1, rep_heads=16, projection_hidden=4096, projection_features=256,
    )  # fmt: skip
    params = jax.jit(dataclasses.replace(reference.task(), model=spec).init)(jax.random.key(3))
    ours = to_official(jax.tree.map(np.asarray, params), spec)
    further = re.compile(r"blocks\.([2-9]|1\d)\.|.*decoder_blocks\.[1-9]")
    grid = {name: numbers for name, numbers in grid.items() if not further.match(name)}
    assert ours.keys() == grid.keys()
    for name, (mean, std, low, high) in grid.items():
        values = ours[name].astype(np.float64)
        if std == 0:
            assert values.min() == low and values.max() == high, name
            continue
        # Five standard errors of both samples: uniform and normal values have kurtosis of at most 3.
        error = np.sqrt(2 / values.size)
        assert abs(values.mean() - mean) < 5 * std * error, name
        assert abs(values.std() / std - 1) < 5 * error, name
        if "token" not in name:  # the normal ones have no bound
            assert np.abs(values).max() <= max(-low, high) * (1 + 5 * error) + 1e-7, name


@pytest.mark.parametrize("name", ["d48_g4", "d768_g14", "d1280_g16"])
def test_sincos_positions_equal_the_official_table(golden, name):
    width, grid = (int(part[1:]) for part in name.split("_"))
    table = golden("schedules")[f"sincos/{name}"]
    np.testing.assert_array_equal(sincos_positions(width, grid), table)
    assert not table[0].any()


def test_patches_run_row_column_channel():
    image = np.arange(4 * 4 * 3).reshape(1, 4, 4, 3)
    patches = np.asarray(patchify(jnp.asarray(image), 2))
    assert patches.shape == (1, 4, 12)
    # Second patch: rows 0-1, columns 2-3.
    np.testing.assert_array_equal(patches[0, 1], [6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 22, 23])
    np.testing.assert_array_equal(unpatchify(patches[0], 2), image[0])
    np.testing.assert_array_equal(patchify(jnp.asarray(image.reshape(1, 4, 12)), 2), patches)


def test_view_keeps_the_visible_patches_in_order():
    mask = jnp.asarray([[True, False, True, False], [False, True, False, True]])
    view = view_of(mask, 2)
    np.testing.assert_array_equal(view.places, [[1, 3], [0, 2]])
    tokens = jnp.asarray([[[1.0], [3.0]], [[10.0], [12.0]]])
    filled = view.fill(tokens, jnp.asarray([-1.0]))[..., 0]
    np.testing.assert_array_equal(filled, [[-1, 1, -1, 3], [10, -1, 12, -1]])


def test_view_drops_surplus_visible_patches():
    view = view_of(jnp.asarray([[True, False, False, False]]), 2)
    np.testing.assert_array_equal(view.places, [[1, 2]])
    np.testing.assert_array_equal(view.fill(jnp.ones((1, 2, 1)), jnp.zeros(1))[0, :, 0], [0, 1, 1, 0])


def test_counting_equal_mask_tokens_once_equals_computing_each(monkeypatch):
    # "zeros" folds the N - K equal mask tokens into one; "sincos" with its table zeroed computes all of them.
    decoder = {
        positions: RepresentationDecoder(2, 4, 4, positions, jnp.float32, "none") for positions in ("zeros", "sincos")
    }
    keys = jax.random.split(jax.random.key(0), 4)
    tokens, mask_token = jax.random.normal(keys[0], (3, 5, 48)), jax.random.normal(keys[1], (48,))
    mask = jax.random.uniform(keys[2], (3, 16)).argsort(axis=1) >= 4
    params = jax.jit(decoder["zeros"].init)(keys[3], tokens, mask_token, view_of(mask, 4))
    monkeypatch.setattr(
        "fsfm_jax.models.decoders.sincos_positions",
        lambda width, grid: np.zeros((grid**2 + 1, width), np.float32),
    )

    def run(kind):
        def loss(params, tokens, mask_token):
            return jnp.sum(decoder[kind].apply(params, tokens, mask_token, view_of(mask, 4)) ** 2)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(params, tokens, mask_token)

    for folded, plain in zip(jax.tree.leaves(run("zeros")), jax.tree.leaves(run("sincos")), strict=True):
        np.testing.assert_allclose(folded, plain, rtol=0, atol=2e-5 * max(1, np.abs(plain).max()))


def test_positions_in_the_representation_decoder_are_a_switch(golden):
    # With zeros the pooled feature cannot know where the hidden patches were; with sine-cosine it does.
    arrays = golden("pretrain_tiny")
    tokens = jax.random.normal(jax.random.key(1), (2, 5, 48))
    tokens = tokens.at[1].set(tokens[0])
    mask = jnp.stack([jnp.arange(16) >= 4, jnp.arange(16) < 12])  # the same tokens, seen at other places
    params = {"params": reference.parameters(arrays, "online/")["rep_decoder"]}
    moved = {}
    for kind in ("zeros", "sincos"):
        decoder = RepresentationDecoder(2, 4, 4, kind, jnp.float32, "none")
        out = jax.jit(decoder.apply)(params, tokens, jnp.asarray(arrays["online/mask_token"][0, 0]), view_of(mask, 4))
        moved[kind] = float(jnp.abs(out[0] - out[1]).max())
    assert moved["zeros"] == 0
    assert moved["sincos"] > 1e-2


# Smaller still than the golden network: what is looked at is wiring, and each case is a compilation.
SMALL = dict(
    size=Size(16, 1, 2, 8), pixel_width=16, pixel_depth=1, pixel_heads=2, rep_depth=1, rep_heads=2,
    projection_hidden=8, projection_features=4,
)  # fmt: skip


@functools.cache
def small_parameters(**changes):
    """Parameters of a small network, numbers that differ: to compile an initialisation costs more than a step."""
    shapes = jax.eval_shape(reference.task(**SMALL, **changes).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf / 5, drawn(shapes))


def touched_patches(gradient):
    """`[16] bool`: patches of the one image on which something depends."""
    return np.asarray(jnp.abs(gradient).sum(-1)[0]) > 0


@pytest.mark.parametrize(
    ("view", "decoded"),
    [("full", "online"), ("other_visible", "neither"), ("masked", "both"), ("masked", "regressed")],
)
def test_every_ablation_runs_and_sees_only_what_it_should(view, decoded):
    task = reference.task(**SMALL, target_view=view, rep_decoded=decoded)
    patches = jax.random.normal(jax.random.key(1), (1, 16, 192))
    mask, other = jnp.arange(16)[None] >= 4, jnp.arange(16)[None] < 12

    params = small_parameters(target_view=view, rep_decoded=decoded)
    target = task.target_part(params)

    @jax.jit
    def dependence(params, target, patches):
        def feature(patches):
            return TargetNetwork(task.model).apply({"params": target}, patches, mask, other).sum()

        def everything(patches):
            out = OnlineNetwork(task.model).apply({"params": params}, patches, mask)
            return jnp.sum(out.pixels**2) + jnp.sum(out.prediction**2)

        return jax.grad(feature)(patches), jax.grad(everything)(patches)

    of_target, of_online = dependence(params, target, patches)
    assert ("rep_decoder" in params) == (decoded in ("both", "online"))
    assert ("regressor" in params, "regressor" in target) == (decoded == "regressed", False)
    assert ("rep_decoder" in target) == (decoded == "both")
    seen = {"full": np.ones(16, bool), "other_visible": ~np.asarray(other[0]), "masked": np.asarray(mask[0])}
    np.testing.assert_array_equal(touched_patches(of_target), seen[view])
    np.testing.assert_array_equal(touched_patches(of_online), ~np.asarray(mask[0]))


def test_the_regressor_is_aligned_with_the_encoded_hidden_patches():
    changes = {"target_view": "masked", "rep_decoded": "regressed"}
    task = reference.task(**SMALL, **changes)
    model, mask = task.model, jax.random.uniform(jax.random.key(3), (4, 16)).argsort(axis=1) >= 4
    patches = jax.random.normal(jax.random.key(2), (4, 16, 192))
    target = task.target_part(small_parameters(**changes))

    @jax.jit
    def apart(target):
        places = jnp.stack([jnp.flatnonzero(row, size=12) for row in mask])
        hidden = jnp.take_along_axis(patches, places[:, :, None], axis=1)
        tokens = Encoder(model.size, 4, jnp.float32, "none").apply({"params": target["encoder"]}, hidden, places)
        head = ProjectionHead(model.projection_hidden, model.projection_features, jnp.float32)
        # Without the class token in front.
        return head.apply({"params": target["projector"]}, tokens[:, 1:].mean(1))

    whole = jax.jit(TargetNetwork(model).apply)({"params": target}, patches, mask, mask)
    np.testing.assert_allclose(whole, apart(target), rtol=0, atol=ACTIVATION)


def test_a_target_with_a_view_of_its_own_sees_that_alone():
    task = reference.task(**SMALL, target_view="other_visible")
    keys = jax.random.split(jax.random.key(4), 4)
    image, view = (jax.random.normal(key, (4, 32, 32, 3)) for key in keys[:2])
    mask, other = (jax.random.uniform(key, (4, 16)).argsort(axis=1) >= 4 for key in keys[2:4])
    batch = {"image": image, "mask": mask, "region_mask": mask, "other_mask": other}
    params = small_parameters(target_view="other_visible")
    target = task.target_part(params)

    @jax.jit
    def terms_of(batch):
        return task.loss(params, target, batch, task.denominators(batch), jax.random.key(0))[1]

    @jax.jit
    def apart(image, view):
        prediction = OnlineNetwork(task.model).apply({"params": params}, task.patches(image), mask).prediction
        projection = TargetNetwork(task.model).apply({"params": target}, task.patches(view), mask, other)
        return losses.cosine(prediction, projection)

    alone, both = terms_of(batch), terms_of(batch | {"target_image": view})
    np.testing.assert_allclose(both["agreement"], apart(image, view), rtol=0, atol=1e-6)
    np.testing.assert_allclose(alone["agreement"], apart(image, image), rtol=0, atol=1e-6)
    assert np.abs(both["agreement"] - alone["agreement"]).max() > 1e-3
    np.testing.assert_array_equal(both["masked"], alone["masked"])  # pixels are those of the online view


def test_a_plain_masked_autoencoder_has_no_second_network():
    task = reference.task(instance_discrimination=False)
    params = jax.eval_shape(task.init, jax.random.key(0))
    assert params.keys() == {"encoder", "mask_token", "pixel_decoder"}
    assert task.target_part(params) == {}
    assert task.term_weights.keys() == {"masked", "region"}


def test_without_reconstruction_the_id_branch_alone_is_trained():
    (loss, terms), gradients = one_step(reconstructs=False)
    assert gradients.keys() == {"encoder", "mask_token", "rep_decoder", "projector", "predictor"}
    assert terms.keys() == {"instance", "projection", "agreement"} and loss == 0.1 * terms["instance"]
    # Every part learns, and what nothing asks for is no NaN.
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert all(any(np.any(leaf) for leaf in jax.tree.leaves(part)) for part in gradients.values())


def test_each_term_has_its_weight():
    weights = dict(masked_weight=2.5, region_weight=0.3, instance_weight=0.7)
    (total, terms), _ = one_step(weights)
    expected = sum(weights[f"{name}_weight"] * terms[name] for name in ("masked", "region", "instance"))
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    # 0 is none of it: the pixels are predicted, and their decoder has no gradient.
    (_, terms), gradients = one_step(weights | {"masked_weight": 0.0, "region_weight": 0.0})
    assert terms["masked"] > 0 and not any(np.any(leaf) for leaf in jax.tree.leaves(gradients["pixel_decoder"]))


def test_no_gradient_reaches_the_target(forward):
    _, _, (_, _, (_, (_, gradients))) = forward
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(gradients))


OFFICIAL_WEIGHTS = {
    f"{name}_weight": getattr(reference.OFFICIAL_LOSS, f"{name}_weight") for name in ("masked", "region", "instance")
}


def small_batch() -> dict:
    random = np.random.default_rng(2)
    return {
        "image": random.normal(size=(4, 32, 32, 3)).astype(np.float32),
        "mask": random.random((4, 16)).argsort(axis=1) >= 4,
        "region_mask": random.random((4, 16)) > 0.5,
    }


@functools.cache
def program(**changes):
    """Loss, terms and gradients of a small task; the weights are arguments, so that all share a program."""

    def step(weights, params, batch):
        loss = dataclasses.replace(reference.OFFICIAL_LOSS, **weights)
        task = reference.task(loss=loss, **SMALL, **changes)
        target, denominators = task.target_part(params), task.denominators(batch)
        return jax.value_and_grad(task.loss, has_aux=True)(params, target, batch, denominators, jax.random.key(0))

    return jax.jit(step)


def one_step(weights=OFFICIAL_WEIGHTS, **changes):
    # Numbers of another kind and activations computed twice are of the same parameters.
    params = small_parameters(**{name: value for name, value in changes.items() if name == "reconstructs"})
    return program(**changes)(weights, params, small_batch())


def test_rows_become_unit_rows_and_only_zeros_stay_zeros():
    rows = jnp.array([[3.0, 4.0], [0.0, 0.0], [jnp.nan, 1.0], [jnp.inf, 1.0], [1e-3, 0.0]])
    np.testing.assert_allclose(
        l2_normalise(rows), [[0.6, 0.8], [0, 0], [np.nan, np.nan], [np.nan, 0], [1, 0]], rtol=1e-6
    )
    assert np.isfinite(jax.grad(lambda x: jnp.sum(l2_normalise(x)))(jnp.zeros((1, 2)))).all()


def test_bfloat16_products_leave_parameters_and_losses_in_float32():
    plain, ((loss, terms), gradients) = one_step()[0][0], one_step(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves((loss, terms, gradients))} == {jnp.dtype("float32")}
    # bfloat16 rounds to 1 in 256; a mean over many values stays within one rounding.
    np.testing.assert_allclose(loss, plain, rtol=1 / 256)
    assert loss != plain


def test_computing_activations_twice_changes_nothing():
    patches = np.random.default_rng(0).normal(size=(2, 16, 192)).astype(np.float32)

    def gradients(remat):
        encoder = Encoder(SMALL["size"], 4, jnp.float32, remat)
        return jax.jit(jax.value_and_grad(lambda p: jnp.sum(encoder.apply({"params": p}, patches)[:, 0] ** 3)))(params)

    params = small_parameters()["encoder"]
    kept = gradients("none")
    for remat in ("attention", "dots", "full"):
        for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(gradients(remat)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1.0, float(np.abs(a).max())))
