"""What we export to timm and to Hugging Face: loaded strictly there, with the outputs that we have.

Random weights, float32, nothing from the network; run by `make test-parity`, since these packages are not among those
of `make test`.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
import reference
from PIL import Image
from torch_networks import WHY, to_torch, torch

timm = pytest.importorskip("timm", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)

from fsfm_jax import losses  # noqa: E402
from fsfm_jax.models.bases import BASES  # noqa: E402
from fsfm_jax.models.classifier import Classifier, ClassifierSpec  # noqa: E402
from fsfm_jax.models.fsfm import OnlineNetwork  # noqa: E402
from fsfm_jax.models.lora import LoraSpec  # noqa: E402
from fsfm_jax.models.style import PLAIN  # noqa: E402
from fsfm_jax.models.vit import SIZES, Encoder, Size, patchify  # noqa: E402
from fsfm_jax.tasks.normalisation import Statistics, normalise  # noqa: E402
from fsfm_jax.weights.encoder_size import shapes_of  # noqa: E402
from fsfm_jax.weights.huggingface import classifier_model, read_pretrained, write  # noqa: E402
from fsfm_jax.weights.timm_state import classifier_state, creation, pack_pretrained  # noqa: E402

SIZE = Size(48, 2, 4, 8)
SIDE, GRID = 32, 4
# Two blocks in float32 in another order of summation: some 1e-6 of numbers of about 1.
TOLERANCE = 1e-5
STATISTICS = Statistics((0.5482, 0.4234, 0.3655), (0.2789, 0.2438, 0.2349))
CLASSES = ("real", "deepfake", "swap")
CLIP = BASES["clip"].style
PRETRAINING = reference.model_spec(size=SIZE, seen=5, pixel_width=32, pixel_depth=2, pixel_heads=4)


def drawn(shapes, seed: int = 0) -> dict:
    """Every parameter drawn, so that no bias is zero and no norm the identity; products keep their scale."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        kernel = "kernel" in path[-1].key or "lora" in path[-1].key
        scale = leaf.shape[0] ** -0.5 if kernel else 0.3
        centre = 1 if path[-1].key == "scale" else 0
        return (centre + scale * random.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def images(pixels) -> np.ndarray:
    return np.asarray(normalise(jnp.asarray(pixels), STATISTICS))


@pytest.fixture(scope="module")
def pretrained() -> dict:
    mask = jnp.zeros((1, GRID**2), bool)
    patches = jnp.zeros((1, PRETRAINING.patches, SIZE.pixels))
    return drawn(shapes_of(OnlineNetwork(PRETRAINING), patches, mask))


def tokens(params: dict, images: np.ndarray, style=PLAIN) -> np.ndarray:
    """Ours of a pretrained encoder, `[B, 1 + N, D]` behind its final norm."""
    learnt = "pos_embed" in params["encoder"]
    encoder = Encoder(SIZE, GRID, jnp.float32, "none", learnt_positions=learnt, style=style)
    with jax.default_matmul_precision("float32"):
        return np.asarray(encoder.apply({"params": params["encoder"]}, patchify(images, SIZE.patch_size)))


def spec(**changes) -> ClassifierSpec:
    plain = dataclasses.replace(networks.SMALLEST, size=SIZE, image_size=SIDE, dtype=jnp.float32, remat="none")
    return dataclasses.replace(plain, **changes)


def classifier(of: ClassifierSpec) -> dict:
    return networks.classifier(of, drawn)


def classified(params: dict, of: ClassifierSpec, images: np.ndarray):
    with jax.default_matmul_precision("float32"):
        return Classifier(of).apply({"params": params}, images, False)


def timm_network(model):
    """Built by the call as it is in a file, and loaded strictly."""
    call = json.loads(json.dumps(model.call))
    network = timm.create_model(**call)
    assert list(network.state_dict()) == list(model.state)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in model.state.items()}, strict=True)
    return network.eval()


def output(network, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(to_torch(images)).numpy()


def epsilons(network) -> set[float]:
    return {module.eps for module in network.modules() if isinstance(module, torch.nn.LayerNorm)}


def test_a_pretrained_encoder_in_timm(images, pretrained):
    token = timm_network(pack_pretrained(pretrained, SIZE, SIDE, "token"))
    np.testing.assert_allclose(output(token, images), tokens(pretrained, images)[:, 0], atol=TOLERANCE)
    assert epsilons(token) == {1e-6}
    mean = timm_network(pack_pretrained(pretrained, SIZE, SIDE, "avg"))
    assert epsilons(mean) == {1e-6}
    # Where fine-tuning starts: the same encoder without its norm, and a norm that is the identity's.
    start = classifier(spec())
    start["encoder"] = {name: tree for name, tree in pretrained["encoder"].items() if name != "norm"}
    start["encoder"]["pos_embed"] = pack_pretrained(pretrained, SIZE, SIDE, "avg").state["pos_embed"]
    start["fc_norm"] = {"scale": np.ones(48, np.float32), "bias": np.zeros(48, np.float32)}
    expected = classified(start, spec(), images).features
    np.testing.assert_allclose(output(mean, images), expected, atol=TOLERANCE)


@pytest.mark.parametrize(("pooling", "lora"), [("mean_patches", None), ("cls", LoraSpec(3, 6.0))])
def test_a_classifier_in_timm(images, pooling, lora):
    of = spec(pooling=pooling, lora=lora)
    params = classifier(of)
    network = timm_network(classifier_state(params, of))
    expected = classified(params, of, images)
    np.testing.assert_allclose(output(network, images), expected.logits, atol=TOLERANCE)
    with torch.no_grad():
        features = network.forward_head(network.forward_features(to_torch(images)), pre_logits=True).numpy()
    np.testing.assert_allclose(features, expected.features, atol=TOLERANCE)
    assert epsilons(network) == {1e-6}


def test_a_classifier_on_clip_in_timm(images):
    of = spec(pooling="cls", style=CLIP)
    params = classifier(of)
    network = timm_network(classifier_state(params, of))
    np.testing.assert_allclose(output(network, images), classified(params, of, images).logits, atol=TOLERANCE)
    assert epsilons(network) == {CLIP.epsilon} == {1e-5}
    encoder = timm_network(pack_pretrained({"encoder": params["encoder"]}, SIZE, SIDE, "token", CLIP))
    features = tokens({"encoder": params["encoder"]}, images, CLIP)[:, 0]
    np.testing.assert_allclose(output(encoder, images), features, atol=TOLERANCE)


@pytest.mark.parametrize("style", [PLAIN, CLIP])
@pytest.mark.parametrize("name", SIZES)
def test_timm_builds_our_sizes(name, style):
    size = SIZES[name]
    call = creation(size, 224, "token", 2, style)
    with torch.device("meta"):  # no numbers are drawn
        network = timm.create_model(**call)
    block = network.blocks[0].attn
    side = network.patch_embed.patch_size[0]
    assert (network.embed_dim, len(network.blocks), block.num_heads, side) == (
        size.width, size.depth, size.heads, size.patch_size
    )  # fmt: skip
    assert network.patch_embed.img_size == (224, 224) and network.head.out_features == 2
    assert isinstance(network.blocks[0].mlp.act, timm.layers.activations.QuickGELU if style == CLIP else torch.nn.GELU)


@pytest.mark.parametrize(("name", "timms"), [("vit_b16", "vit_base_patch16_224"), ("vit_s16", "vit_small_patch16_224")])
def test_the_sizes_of_the_paper_load_strictly_under_the_names_of_timm(name, timms):
    size = SIZES[name]
    of = spec(size=size, image_size=224, classes=2)
    shapes = shapes_of(Classifier(of), jnp.zeros((1, 224, 224, 3)), False)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: random.standard_normal(leaf.shape, np.float32), shapes)
    model = classifier_state(params, of)
    assert model.call["model_name"] == timms
    with torch.device("meta"):
        network = timm.create_model(**model.call)
    state = {key: torch.from_numpy(array) for key, array in model.state.items()}
    network.load_state_dict(state, strict=True, assign=True)
    assert network.blocks[0].attn.num_heads == 12
    kernel = params["encoder"]["block_11"]["mlp"]["fc2"]["kernel"]
    np.testing.assert_array_equal(network.blocks[11].mlp.fc2.weight.detach().numpy(), kernel.T)


def loaded(kind, folder, **arguments):
    """Loaded from the folder alone; strictly."""
    network, report = kind.from_pretrained(folder, output_loading_info=True, local_files_only=True, **arguments)
    assert {key: list(names) for key, names in report.items()} == {key: [] for key in report}
    assert {"missing_keys", "unexpected_keys", "mismatched_keys"} <= report.keys()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert epsilons(network) == {1e-6}
    return network.eval()


def hugging_face(network, images: np.ndarray, **arguments):
    with torch.no_grad():
        return network(pixel_values=to_torch(images), **arguments)


@pytest.mark.parametrize("learnt", [False, True])
def test_a_pretrained_encoder_of_hugging_face(tmp_path, images, pretrained, learnt):
    params = {"encoder": dict(pretrained["encoder"])}
    if learnt:
        params["encoder"]["pos_embed"] = np.random.default_rng(1).standard_normal((1, 17, 48), np.float32)
    write(read_pretrained(params, PRETRAINING, STATISTICS, decoder=False), tmp_path)
    for kind in (transformers.AutoModel, transformers.ViTModel):
        network = loaded(kind, tmp_path, add_pooling_layer=False)
        assert type(network) is transformers.ViTModel
        found = hugging_face(network, images).last_hidden_state.numpy()
        np.testing.assert_allclose(found, tokens(params, images), atol=TOLERANCE)


def test_the_pooler_is_all_that_an_encoder_lacks(tmp_path, images, pretrained):
    write(read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder=False), tmp_path)
    network, report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report["missing_keys"]) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    found = hugging_face(network.eval(), images).last_hidden_state.numpy()
    np.testing.assert_allclose(found, tokens(pretrained, images), atol=TOLERANCE)


def test_a_masked_autoencoder_of_hugging_face(tmp_path, images, pretrained):
    write(read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder=True), tmp_path)
    random = np.random.default_rng(3)
    order = np.stack([random.permutation(GRID**2) for _ in images])
    mask = order >= PRETRAINING.seen  # 5 of 16 patches are seen, a ratio that is no round number
    patches = patchify(images, SIZE.patch_size)
    with jax.default_matmul_precision("float32"):
        ours = OnlineNetwork(PRETRAINING).apply({"params": pretrained}, patches, mask).pixels
    goal = losses.normalise_pixels(patches)
    ratio = losses.masked_reconstruction(ours, goal, mask)
    for kind in (transformers.AutoModelForPreTraining, transformers.ViTMAEForPreTraining):
        network = loaded(kind, tmp_path)
        assert type(network) is transformers.ViTMAEForPreTraining
        # The patches with the least noise are kept.
        found = hugging_face(network, images, noise=torch.from_numpy(order.astype(np.float32)))
        np.testing.assert_array_equal(found.mask.numpy() > 0, mask)
        np.testing.assert_allclose(found.logits.numpy(), ours, atol=TOLERANCE)
        np.testing.assert_allclose(found.loss.item(), ratio.total / ratio.denominator, rtol=TOLERANCE)


KINDS = {"cls": transformers.ViTForImageClassification, "mean_patches": transformers.BeitForImageClassification}


@pytest.mark.parametrize(("pooling", "lora"), [("cls", None), ("mean_patches", None), ("mean_patches", LoraSpec(3, 6))])
def test_a_classifier_of_hugging_face(tmp_path, images, pooling, lora):
    of = spec(pooling=pooling, lora=lora)
    params = classifier(of)
    expected = classified(params, of, images).logits
    write(classifier_model(params, of, STATISTICS, CLASSES), tmp_path)
    for kind in (transformers.AutoModelForImageClassification, KINDS[pooling]):
        network = loaded(kind, tmp_path)
        assert type(network) is KINDS[pooling]
        np.testing.assert_allclose(hugging_face(network, images).logits.numpy(), expected, atol=TOLERANCE)
    assert network.config.id2label == dict(enumerate(CLASSES)) and network.config.num_labels == 3
    # Both attentions of transformers, the fused one and the plain one.
    plain = loaded(KINDS[pooling], tmp_path, attn_implementation="eager")
    np.testing.assert_allclose(hugging_face(plain, images).logits.numpy(), expected, atol=TOLERANCE)


def test_pictures_are_prepared_as_ours(tmp_path, pixels, images, pretrained):
    write(read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder=False), tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, local_files_only=True)
    assert (processor.size["height"], processor.size["width"], processor.resample) == (SIDE, SIDE, 3)
    found = processor(images=list(pixels), return_tensors="pt")["pixel_values"].numpy()
    # Two or three roundings of numbers up to 3.
    np.testing.assert_allclose(found, np.moveaxis(images, -1, 1), atol=1e-6)


@pytest.mark.parametrize("pooling", KINDS)
def test_a_folder_is_all_that_a_pipeline_needs(tmp_path, pixels, images, pooling):
    of = spec(pooling=pooling)
    params = classifier(of)
    write(classifier_model(params, of, STATISTICS, CLASSES), tmp_path)
    pipeline = transformers.pipeline("image-classification", model=str(tmp_path), device="cpu")
    found = {entry["label"]: entry["score"] for entry in pipeline(Image.fromarray(pixels[0]), top_k=3)}
    expected = jax.nn.softmax(classified(params, of, images[:1]).logits[0])
    assert found.keys() == set(CLASSES)
    np.testing.assert_allclose([found[name] for name in CLASSES], expected, atol=TOLERANCE)
