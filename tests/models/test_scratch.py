"""Fresh weights of fine-tuning from scratch against those of the official network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofSpec
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.models.scratch import scratch_initialisation
from fsfm_jax.models.vit import Size
from fsfm_jax.weights.names import CLASSIFIER, finetuned_to_official

TINY = Size(48, 2, 4, 8)


def start(size=TINY, pooling="mean_patches", image_size=32) -> dict:
    """Parameters in which every number is 3."""
    spec = ClassifierSpec(size, image_size, 2, pooling, 0.0, jnp.float32, "none")
    inputs = jnp.zeros((1, image_size, image_size, 3))
    shapes = jax.eval_shape(lambda: Classifier(spec).init(jax.random.key(0), inputs, train=False))["params"]
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 3, np.float32), shapes)


def drawn(params: dict, seed: int = 0) -> dict[str, np.ndarray]:
    flat = flatten_dict(scratch_initialisation(params, jax.random.key(seed)), sep="/")
    return {path: np.asarray(value) for path, value in flat.items()}


def test_every_array_is_distributed_as_the_official_one(golden):
    # ViT-B with the first of its blocks: the others are like it.
    size = Size(768, 1, 12, 16)
    ours = finetuned_to_official(unflatten_dict(drawn(start(size, image_size=224)), sep="/"), CLASSIFIER, 16)
    official = golden("schedules")
    numbers = dict(
        zip(
            map(str, official["init/vit_base_patch16_fs_adapter/names"]),
            official["init/vit_base_patch16_fs_adapter/mean_std_min_max"],
            strict=True,
        )
    )
    kept = {name for name in ours if name.startswith(("head.", "fc_norm."))}
    assert len(kept) == 4 and ours.keys() - kept <= numbers.keys() and len(ours) - len(kept) == 4 + 12
    for name in ours.keys() - kept:
        array, (mean, std, low, high) = ours[name].astype(np.float64), numbers[name]
        # Both are samples of n: standard errors std / sqrt(n) of a mean and at most std / sqrt(2 n) of a deviation.
        slack = 6 * np.sqrt(2 / array.size) * std
        assert abs(array.mean() - mean) <= slack and abs(array.std(ddof=1 if std else 0) - std) <= slack, name
        if name.startswith("patch_embed"):
            bound = 1 / np.sqrt(768)
            assert -bound <= array.min() and array.max() <= bound and max(-low, high) <= bound
            # The ends of n uniform draws miss the bound by about 2 bound / n.
            assert max(bound + array.min(), bound - array.max()) < 20 * 2 * bound / array.size, name
        elif std:
            # Largest of n normal draws: within one deviation of each other, at these sizes.
            assert abs(array.max() - high) < std, name
            # At -2 a float32 draw of PyTorch met the end of its interval (see `scratch._normal`).
            assert abs(array.min() - low) < std or (low == -2 and array.size > 1e6), name
        else:
            assert (array == low).all() and low == high, name


def test_the_distributions_by_hand():
    found = drawn(start())
    kernel = found["encoder/block_01/mlp/fc1/kernel"]  # 9216 draws: the deviation is known to 0.7 %
    assert abs(kernel.std() / 0.02 - 1) < 0.03 and abs(kernel).max() > 0.06  # beyond any uniform of that deviation
    for leaf in ("kernel", "bias"):  # 3 * 8 * 8 inputs, not the 48 outputs
        array = found[f"encoder/patch_embed/{leaf}"]
        assert 0.9 * 192**-0.5 < np.abs(array).max() < 192**-0.5
    for token in ("cls_token", "pos_embed"):
        assert 0.01 < found[f"encoder/{token}"].std() < 0.03
    for path, array in found.items():
        if path.startswith(("head", "fc_norm")):
            np.testing.assert_array_equal(array, 3)
        elif path.endswith("scale"):
            np.testing.assert_array_equal(array, 1)
        elif path.endswith("bias") and "patch_embed" not in path:
            np.testing.assert_array_equal(array, 0)


def test_a_stream_belongs_to_a_path():
    first, again, other = (drawn(start(), seed) for seed in (0, 0, 1))
    deeper = drawn(start(Size(48, 3, 4, 8), "cls"))
    random = [path for path in first if first[path].std() > 0]
    assert len(random) == 4 + 2 * 4
    for path in random:
        np.testing.assert_array_equal(first[path], again[path])
        np.testing.assert_array_equal(first[path], deeper[path], err_msg=path)
        assert (first[path] != other[path]).mean() > 0.99
    # Of the same shape, in two blocks.
    pair = [first[f"encoder/block_0{index}/attn/qkv/kernel"].ravel() for index in range(2)]
    assert abs(np.corrcoef(*pair)[0, 1]) < 5 / np.sqrt(pair[0].size)


def test_inside_a_compiled_program_it_is_the_same():
    compiled = flatten_dict(jax.jit(scratch_initialisation)(start(), jax.random.key(0)), sep="/")
    for path, array in drawn(start()).items():
        # XLA may round the inverse error function differently when it fuses: a few units of the last place.
        np.testing.assert_allclose(compiled[path], array, rtol=1e-5, atol=1e-9, err_msg=path)


def test_the_input_stays_and_heads_are_passed_on():
    params = start()
    found = scratch_initialisation(params, jax.random.key(0))
    assert jax.tree.structure(found) == jax.tree.structure(params)
    assert found["head"]["kernel"] is params["head"]["kernel"]
    assert all((leaf == 3).all() for leaf in jax.tree.leaves(params))


def test_all_parameters_of_all_networks_are_covered():
    for pooling in ("mean_patches", "cls"):
        covered(Classifier(ClassifierSpec(TINY, 16, 2, pooling, 0.0, jnp.float32, "none")), 16)
    covered(AntiSpoof(AntiSpoofSpec(TINY, 16, "tokens", 0.0, 0.5, jnp.float32, "none")), 16)


def covered(network, side: int) -> None:
    def both():
        params = network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), train=False)["params"]
        return params, scratch_initialisation(params, jax.random.key(0))

    before, after = jax.eval_shape(both)
    assert before == after  # names, shapes and types


def test_a_parameter_without_a_rule_is_named():
    params = start()
    params["encoder"]["block_00"]["gate"] = {"kernel": np.zeros(3)}
    params["adapter"] = {"linear1": np.zeros(3)}
    params["encoder"]["cls_token2"] = np.zeros(3)
    expected = "matches these parameters: adapter/linear1, encoder/block_00/gate/kernel, encoder/cls_token2; add a rule"
    with pytest.raises(ValueError, match=expected):
        scratch_initialisation(params, jax.random.key(0))
