"""Every row of the table of optimizers: steps by hand, decay, factors and clipping, state on disk, what it refuses."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.config import finetune, pretrain
from fsfm_jax.optim.optimizer import OPTIMIZERS, OptimizerSpec, make_optimizer
from fsfm_jax.resolve.optimizer import resolve_optimizer

# Three steps of the optimizers against their definitions in float64.

GRADIENTS = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
START = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
RATES = (0.1, 0.02, 0.05)


def adam():
    """Directions of Adam for one gradient after the other."""
    first, second, t = 0.0, 0.0, 0

    def direction(g):
        nonlocal first, second, t
        t, first, second = t + 1, 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        return first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)

    return direction


def lion():
    """Directions of Lion (Chen et al., 2023, algorithm 2), with the betas of the test."""
    momentum = 0.0

    def direction(g):
        nonlocal momentum
        step, momentum = np.sign(0.9 * momentum + 0.1 * g), 0.999 * momentum + 0.001 * g
        return step

    return direction


def by_hand(decay: str, decays, factors, make=adam) -> np.ndarray:
    """Both rows after three steps; row r has decay `decays[r]` and learning rates scaled by `factors[r]`."""
    p, direction = START.astype(float), make()
    decays, factors = (np.array(x)[:, None] for x in (decays, factors))
    for g, rate in zip(GRADIENTS.astype(float), RATES, strict=True):
        step = direction(g + (decays * p if decay == "coupled" else 0))
        p = p - rate * factors * (step + (decays * p if decay == "decoupled" else 0))
    return p


def run(spec: OptimizerSpec) -> np.ndarray:
    optimizer = make_optimizer(spec)
    params = {"a": START[0], "b": START[1]}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, gradient, rate):
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), state

    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        params, state = step(params, state, {"a": gradient[0], "b": gradient[1]}, rate)
    return np.stack([params["a"], params["b"]])


DECAYS = (("a", 0.3), ("b", 0.0))
FACTORS = (("b", 1.0), ("a", 0.25))


# What is no matrix of a block Muon leaves to AdamW.
@pytest.mark.parametrize(
    ("name", "decay", "make"),
    [
        ("adamw", "decoupled", adam), ("adamw", "coupled", adam), ("lion", "decoupled", lion),
        ("muon", "decoupled", adam),
    ],
)  # fmt: skip
def test_three_steps_equal_the_definition(name, decay, make):
    plain = run(OptimizerSpec(0.9, 0.999, 1e-8, DECAYS, None, decay, name=name))
    np.testing.assert_allclose(plain, by_hand(decay, (0.3, 0.0), (1.0, 1.0), make), rtol=0, atol=2e-6)
    scaled = run(OptimizerSpec(0.9, 0.999, 1e-8, DECAYS, None, decay, FACTORS, name))
    np.testing.assert_allclose(scaled, by_hand(decay, (0.3, 0.0), (0.25, 1.0), make), rtol=0, atol=2e-6)
    assert np.abs(by_hand("decoupled", (0.3, 0.0), (1, 1)) - by_hand("coupled", (0.3, 0.0), (1, 1))).max() > 1e-2


def test_pretraining_keeps_the_structure_of_its_optimizer_state_and_without_clipping_length():
    def moment(clip_norm):
        optimizer = make_optimizer(OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), clip_norm))
        params = {"a": jnp.zeros(4)}
        _, state = optimizer.update({"a": jnp.full(4, 10.0)}, optimizer.init(params), params)
        (moments,) = [part for part in state if hasattr(part, "mu")]
        return float(jnp.linalg.norm(moments.mu["a"]))

    np.testing.assert_allclose([moment(None), moment(1.0)], [2.0, 0.1], rtol=1e-6)
    # Checkpoints of earlier runs depend on it: clipping, moments, decay.
    optimizer = make_optimizer(OptimizerSpec(0.9, 0.95, 1e-8, ((".*", 0.05),), 1.0))
    names = [type(part).__name__ for part in optimizer.init({"a": jnp.zeros(3)})]
    assert names == ["EmptyState", "ScaleByAdamState", "EmptyState"]


def test_an_unknown_kind_of_decay_is_refused():
    with pytest.raises(ValueError, match="optimizer.decay: expected one of decoupled, coupled; found 'l2'"):
        make_optimizer(OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), None, "l2"))


# Muon, one step at a time. A block with a fused kernel of queries, keys and values, a tall and a wide one.

WIDTH = 4
SHAPES = {
    "encoder/block_00/attn/qkv/kernel": (WIDTH, 3 * WIDTH), "encoder/block_00/mlp/fc1/kernel": (WIDTH, 8),
    "encoder/block_00/mlp/fc2/kernel": (8, WIDTH), "encoder/block_00/mlp/fc1/bias": (8,),
    "encoder/patch_embed/kernel": (6, WIDTH), "head/kernel": (WIDTH, 2),
}  # fmt: skip
MATRICES = [path for path in SHAPES if "block" in path and "kernel" in path]


def tree(seed: int) -> dict:
    random = np.random.default_rng(seed)
    return {path: random.normal(size=shape).astype(np.float32) for path, shape in SHAPES.items()}


def unflatten(flat: dict) -> dict:
    return unflatten_dict(flat, sep="/")


@functools.cache
def compiled(spec: OptimizerSpec):
    """The start of the state, and the update."""
    optimizer = make_optimizer(spec)
    return jax.jit(optimizer.init), jax.jit(optimizer.update)


def directions(spec: OptimizerSpec, gradients: list[dict], params: dict) -> list[dict]:
    init, update = compiled(spec)
    state, found = init(unflatten(params)), []
    for gradient in gradients:
        direction, state = update(unflatten(gradient), state, unflatten(params))
        found.append(flatten_dict(direction, sep="/"))
    return found


def maps(path: str, matrix: np.ndarray) -> list[np.ndarray]:
    """The maps that a kernel holds: three side by side for queries, keys and values."""
    return np.split(matrix, 3, axis=1) if "/qkv/" in path else [matrix]


def orthogonal(matrix: np.ndarray) -> np.ndarray:
    """Five steps of Newton and Schulz as what they do to the singular values, float64 (Jordan et al., 2024)."""
    left, values, right = np.linalg.svd(matrix.astype(float), full_matrices=False)
    values = values / np.sqrt(np.sum(values**2))
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ np.diag(values) @ right


def test_muon_makes_the_momentum_of_every_map_orthogonal():
    spec = OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), None, name="muon")
    gradients = [tree(1), tree(2)]
    found = directions(spec, gradients, tree(0))
    momentum = dict.fromkeys(SHAPES, 0.0)
    for t, (gradient, direction) in enumerate(zip(gradients, found, strict=True), 1):
        for path in MATRICES:
            momentum[path] = 0.95 * momentum[path] + 0.05 * gradient[path].astype(float)
            # Nesterov with the bias corrections of optax; a common factor would make no difference.
            ahead = 0.95 * momentum[path] / (1 - 0.95 ** (t + 1)) + 0.05 * gradient[path] / (1 - 0.95**t)
            for one, whole in zip(maps(path, direction[path]), maps(path, ahead), strict=True):
                size = 0.2 * np.sqrt(max(one.shape))
                np.testing.assert_allclose(one, size * orthogonal(whole), rtol=0, atol=2e-5, err_msg=path)
                values = np.linalg.svd(one / size, compute_uv=False)
                assert 0.6 < values.min() and values.max() < 1.3, (path, values)
    # What is no map within a block moves as with AdamW.
    plain = directions(dataclasses.replace(spec, name="adamw"), gradients, tree(0))
    for path in SHAPES.keys() - set(MATRICES):
        np.testing.assert_array_equal(found[1][path], plain[1][path])


def test_options_of_muon_change_what_they_say():
    spec = OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), None, name="muon", options=(("rms", 0.1),))
    (half,), (whole,) = (directions(s, [tree(1)], tree(0)) for s in (spec, dataclasses.replace(spec, options=())))
    for path in SHAPES:
        factor = 0.5 if path in MATRICES else 1.0
        np.testing.assert_allclose(half[path], factor * whole[path], rtol=1e-6)
    momentum = dataclasses.replace(spec, options=(("momentum", 0.0), ("rms", 0.2)))
    (_, last), (fresh,) = (directions(momentum, g, tree(0)) for g in ([tree(1), tree(2)], [tree(2)]))
    for path in MATRICES:  # without momentum the gradient before is forgotten
        np.testing.assert_allclose(last[path], fresh[path], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_factors_and_clipping_are_around_every_row(name):
    """Decay adds `d p` to the direction, a factor scales both, and clipping comes before what is remembered."""
    params, gradient = tree(0), tree(1)
    plain = OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), None, name=name)
    decays, factors = ((r"head/.*", 0.0), (".*", 0.25)), ((r"encoder/.*", 0.5), (".*", 1.0))
    (alone,), (around,) = (
        directions(spec, [gradient], params)
        for spec in (plain, dataclasses.replace(plain, weight_decay_rules=decays, rate_rules=factors))
    )
    for path in SHAPES:
        head = path.startswith("head")
        expected = alone[path] if head else 0.5 * (alone[path] + 0.25 * params[path])
        np.testing.assert_allclose(around[path], expected, rtol=1e-5, atol=1e-6, err_msg=path)
    assert not np.array_equal(around["head/kernel"], 0 * around["head/kernel"])

    def remembered(clip_norm, scale):
        init, update = compiled(dataclasses.replace(plain, clip_norm=clip_norm))
        gradients = unflatten({path: np.float32(scale) * value for path, value in gradient.items()})
        _, state = update(gradients, init(unflatten(params)), unflatten(params))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(state) if leaf.dtype == np.float32]

    # Clipped to a norm, gradients of two lengths are one; without clipping they are not.
    for one, other in zip(remembered(1.0, 10.0), remembered(1.0, 100.0), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    pairs = zip(remembered(None, 10.0), remembered(None, 100.0), strict=True)
    assert max(np.abs(other - one).max() for one, other in pairs) > 0.1


def resolved(fields: dict, usual=pretrain.pretrain, decay: str = "decoupled") -> OptimizerSpec:
    c = usual()
    c.update_from_flattened_dict({f"optimizer.{name}": value for name, value in fields.items()})
    return resolve_optimizer(c.optimizer, usual().optimizer, ((".*", 0.0),), None, decay)


def test_fields_become_a_specification():
    assert resolved({}).name == "adamw" and resolved({}).options == ()
    found = resolved({"name": "muon", "options": "rms=0.1, momentum=0.9", "epsilon": 1e-6}, finetune.finetune)
    assert (found.name, found.options, found.epsilon) == ("muon", (("momentum", 0.9), ("rms", 0.1)), 1e-6)
    assert resolved({"name": "lion", "beta2": 0.99}).beta2 == 0.99


@pytest.mark.parametrize(
    ("fields", "decay", "message"),
    [
        ({"name": "adam"}, "decoupled", r"optimizer.name: expected one of adamw, lion, muon; .*did you mean 'adamw'\?"),
        ({"name": "lion"}, "coupled", "optimizer.decay: expected decoupled with lion; found 'coupled'"),
        ({}, "l2", "optimizer.decay: expected one of decoupled, coupled; found 'l2'"),
        ({"name": "lion", "epsilon": 1e-6}, "decoupled", "optimizer.epsilon: lion does not use it; leave it at 1e-08"),
        ({"options": "rms=1"}, "decoupled", "optimizer.options: adamw has none; found 'rms=1'"),
        ({"name": "muon", "options": "momentun=1"}, "decoupled", "options of muon: .*; did you mean 'momentum'"),
        ({"name": "muon", "options": "rms"}, "decoupled", 'expected "NAME=NUMBER,NAME=NUMBER"; found \'rms\''),
        ({"name": "muon", "options": "rms=1,rms=2"}, "decoupled", "rms is there twice in 'rms=1,rms=2'"),
    ],
)  # fmt: skip
def test_fields_that_make_no_sense_are_refused(fields, decay, message):
    with pytest.raises(ValueError, match=message):
        resolved(fields, decay=decay)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_are_exchanged_where_pytorch_has_the_same_ones_alone(name):
    row, spec = OPTIMIZERS[name], OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), 1.0, name=name)
    state = make_optimizer(spec).init(unflatten(tree(0)))
    ours = {"count": np.int32(7), "mu": unflatten(tree(1)), "nu": unflatten(tree(2))}
    put = row.with_moments(state, ours)
    # As a checkpoint has it, without the types; AdamW within Muon is of some parameters alone, and no AdamW of a file.
    stored = [part._asdict() if hasattr(part, "_asdict") else part for part in put]
    if name == "adamw":
        assert row.counterpart.name == "AdamW"
        assert set(row.counterpart.keys.values()) | {"count"} == set(row.state._fields)
        assert row.find_moments(stored) == ours and row.with_moments(state, {}) is state
    else:
        assert row.counterpart is None and row.find_moments(stored) is None and put is state
