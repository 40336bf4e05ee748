"""FLOPs of the networks per image, counted analytically from the method and not from the compiled program.

FLOPs are twice the multiply-adds of attention and of all products with weights. Elementwise operations, means, losses,
the mask token shared by a batch and the optimizer are not counted. The count includes exact savings of the code:
hidden patches are not embedded, representation decoders average before their last map, and equal mask tokens are one
token. Recomputed activations (`remat`) are not part of the method and are not counted.

A network is a list of steps in data-flow order. In the backward pass a product costs its own FLOPs once for the
gradient of its weight, if the weight is trained, and once for the gradient of its input, if anything before it is
trained.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator

from fsfm_jax.models.adapter import CONCAT, block_adapter
from fsfm_jax.models.antispoof import CLASSES, EMBEDDING, AntiSpoofSpec
from fsfm_jax.models.block_adapter import BlockAdapterSpec
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.fsfm import REGRESSED, ModelSpec
from fsfm_jax.models.lora import DOWN, MLP, PROJ, QKV, UP, LoraSpec, update_of
from fsfm_jax.models.style import PLAIN, Style
from fsfm_jax.models.vit import Size


@dataclasses.dataclass(frozen=True)
class Step:
    """A product or a parameter in the data flow of a network.

    Attributes:
      flops: FLOPs of the forward pass per image; 0 for parameters that are only added or scaled.
      weights: paths of the weights in the product; empty for attention, whose two factors are both activations.
      added: paths of parameters added or scaled after the product. If one is trained, all later steps need gradients.
    """

    flops: float = 0.0
    weights: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def forward(steps: Iterable[Step]) -> float:
    """Return the FLOPs of a forward pass."""
    return sum(step.flops for step in steps)


def backward(steps: Iterable[Step], trained: str) -> float:
    """Return the FLOPs of the gradients of all parameters whose full path matches the pattern `trained`."""
    total, before = 0.0, False
    for step in steps:
        learns = any(re.fullmatch(trained, path) for path in step.weights)
        if step.weights:
            total += step.flops * (learns + before)
        else:  # both factors of attention are activations
            total += step.flops * 2 * before
        before = before or learns or any(re.fullmatch(trained, path) for path in step.added)
    return total


def pretraining(spec: ModelSpec) -> float:
    """Return the FLOPs per image of a training step: online network forward and backward, target network forward.

    The branches of the online network start at the encoder output. One encoder backward pass serves their sum.
    """
    seen, patches, width = spec.seen, spec.patches, spec.size.width
    encoder = [*_encoder(spec.size, seen, PLAIN, None), Step(added=("encoder/norm/scale",))]
    online = [encoder, *([list(_pixel_decoder(spec))] if spec.reconstructs else [])]
    target = 0.0
    if spec.instance_discrimination:
        decoded = [*_rep_decoder(spec, seen)] if spec.rep_decoded in ("both", "online") else []
        decoded += [*_regressor(spec)] if spec.rep_decoded == REGRESSED else []
        head = [*_head("projector", width, spec), *_head("predictor", spec.projection_features, spec)]
        online.append([*decoded, *head])
        shown = {"full": patches, "other_visible": seen, "masked": patches - seen}[spec.target_view]
        target += forward(_encoder(spec.size, shown, PLAIN, None)) + forward(_head("projector", width, spec))
        if spec.rep_decoded == "both":
            target += forward(_rep_decoder(spec, shown))
    # The encoder is trained, so the first product of each branch also needs the gradient of its input.
    behind = [Step(added=("encoder",))]
    gradients = backward(encoder, ".*") + sum(backward([*behind, *branch], ".*") for branch in online[1:])
    return sum(forward(branch) for branch in online) + gradients + target


def detector(spec: ClassifierSpec | AntiSpoofSpec, cached: bool = False) -> float:
    """Return the FLOPs of inference on one image; `cached`: from stored features, without the encoder.

    The adapter's projector serves only its loss and is not counted.
    """
    return forward(step for step in _detector(spec, cached) if "projector/kernel" not in step.weights)


def finetuning(spec: ClassifierSpec | AntiSpoofSpec, trained: str, cached: bool = False) -> float:
    """Return the FLOPs per image of a training step that trains the paths matching the pattern `trained`."""
    steps = list(_detector(spec, cached))
    return forward(steps) + backward(steps, trained)


def _map(path: str, rows: float, inputs: int, outputs: int, bias: bool = True) -> Step:
    return Step(2.0 * rows * inputs * outputs, (f"{path}/kernel",), (f"{path}/bias",) if bias else ())


def _updated(path: str, rows: float, inputs: int, outputs: int, lora: LoraSpec | None) -> Iterator[Step]:
    """Yield a linear map of a block, and its low-rank update if it has one."""
    yield _map(path, rows, inputs, outputs)
    if lora is not None:  # in parallel to the product: each computes a gradient of the shared input
        yield Step(2.0 * rows * inputs * lora.rank, (f"{path}/{DOWN}",))
        yield Step(2.0 * rows * lora.rank * outputs, (f"{path}/{UP}",))


def _blocks(
    path: str,
    depth: int,
    tokens: int,
    width: int,
    lora: LoraSpec | None = None,
    style: Style = PLAIN,
    adapter: BlockAdapterSpec | None = None,
) -> Iterator[Step]:
    for index in range(depth):
        name, low = f"{path}/block_{index:02d}", None if lora is None else lora.in_block(index)
        yield Step(added=(f"{name}/norm1/scale", f"{name}/norm1/bias"))
        yield from _updated(f"{name}/attn/qkv", tokens, width, 3 * width, update_of(low, QKV))
        if style.relative:
            yield Step(added=(f"{name}/attn/relative_positions/table",))
        yield Step(4.0 * tokens * tokens * width)
        yield from _updated(f"{name}/attn/proj", tokens, width, width, update_of(low, PROJ))
        yield Step(added=(f"{name}/ls1/scale", f"{name}/norm2/scale", f"{name}/norm2/bias"))
        if style.gated:  # in parallel to the next product: each computes a gradient of the shared input
            yield from _updated(f"{name}/mlp/gate", tokens, width, 4 * width, update_of(low, MLP))
        yield from _updated(f"{name}/mlp/fc1", tokens, width, 4 * width, update_of(low, MLP))
        yield from _updated(f"{name}/mlp/fc2", tokens, 4 * width, width, update_of(low, MLP))
        yield Step(added=(f"{name}/ls2/scale",))
        if adapter is not None:
            yield _map(f"{name}/adapter/linear1", tokens, width, width // adapter.reduction, bias=False)
            yield _map(f"{name}/adapter/linear2", tokens, width // adapter.reduction, width, bias=False)


def _encoder(
    size: Size, patches: int, style: Style, lora: LoraSpec | None, adapter: BlockAdapterSpec | None = None
) -> Iterator[Step]:
    tokens = patches + style.prefix
    yield _map("encoder/patch_embed", patches, size.pixels, size.width)
    names = ("cls_token", "reg_token", "pos_embed", "pre_norm/scale", "pre_norm/bias")
    yield Step(added=tuple(f"encoder/{name}" for name in names))
    yield from _blocks("encoder", size.depth, tokens, size.width, lora, style, adapter)


def _pixel_decoder(spec: ModelSpec) -> Iterator[Step]:
    width = spec.pixel_width
    yield _map("pixel_decoder/embed", 1 + spec.seen, spec.size.width, width)
    yield from _blocks("pixel_decoder", spec.pixel_depth, 1 + spec.patches, width)
    yield _map("pixel_decoder/pred", spec.patches, width, spec.size.pixels)


def _rep_decoder(spec: ModelSpec, shown: int) -> Iterator[Step]:
    width, tokens = spec.size.width, 1 + shown
    yield _map("rep_decoder/embed", tokens, width, width)
    if shown < spec.patches:
        tokens = 1 + spec.patches if spec.rep_positions == "sincos" else tokens + 1
    yield from _blocks("rep_decoder", spec.rep_depth, tokens, width)
    yield _map("rep_decoder/pred", 1, width, width)


def _regressor(spec: ModelSpec) -> Iterator[Step]:
    width, tokens, hidden = spec.size.width, 1 + spec.patches, spec.patches - spec.seen
    yield _map("regressor/embed", 1 + spec.seen, width, width)
    for index in range(spec.rep_depth):
        name = f"regressor/block_{index:02d}"
        yield _map(f"{name}/attn/query", hidden, width, width)
        yield _map(f"{name}/attn/key", tokens, width, width, bias=False)
        yield _map(f"{name}/attn/value", tokens, width, width)
        yield Step(4.0 * hidden * tokens * width)
        yield _map(f"{name}/attn/proj", hidden, width, width)
        yield _map(f"{name}/mlp/fc1", hidden, width, 4 * width)
        yield _map(f"{name}/mlp/fc2", hidden, 4 * width, width)
    yield _map("regressor/pred", 1, width, width)


def _head(path: str, inputs: int, spec: ModelSpec) -> Iterator[Step]:
    yield _map(f"{path}/fc1", 1, inputs, spec.projection_hidden)
    yield _map(f"{path}/fc2", 1, spec.projection_hidden, spec.projection_features)


def _detector(spec: ClassifierSpec | AntiSpoofSpec, cached: bool) -> Iterator[Step]:
    width, patches, features = spec.size.width, spec.grid**2, spec.size.width
    if not cached:
        yield from _encoder(spec.size, patches, spec.style, spec.lora, block_adapter(spec))
        yield Step(added=("encoder/norm/scale", "encoder/norm/bias", "fc_norm/scale", "fc_norm/bias"))
    if block_adapter(spec) is not None:
        yield _map("projector", 1, width, width // spec.reduction)
    elif spec.reduction is not None:
        narrow = width // spec.reduction
        yield _map("adapter/linear1", 1, width, narrow, bias=False)
        yield _map("adapter/linear2", 1, narrow, width, bias=False)
        yield _map("projector", 1, narrow, narrow)
        features = 2 * width if spec.insertion == CONCAT else width
    if isinstance(spec, AntiSpoofSpec):
        yield _map("embedder", 1 + patches if spec.norm_over == "tokens" else 1, features, EMBEDDING)
        yield _map("classifier", 1, EMBEDDING, CLASSES)
    else:
        yield _map("head", 1, features, spec.classes)
