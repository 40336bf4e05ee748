"""The same steps in plain PyTorch, from the papers' description, with the transformer blocks of timm.

This is a straightforward implementation, as a reference for speed. All patches are embedded before some are selected,
mask tokens are inserted before the decoders' linear maps, and the optimizer is PyTorch's AdamW. Everything is float32,
with timm's default attention.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from fsfm_jax.models.fsfm import ModelSpec
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.models.ops import NORM_EPSILON
from fsfm_jax.models.vit import Size
from fsfm_jax.tasks.normalisation import Statistics

_norm = functools.partial(nn.LayerNorm, eps=NORM_EPSILON)


def _blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width, heads, qkv_bias=True, norm_layer=_norm) for _ in range(depth)))


def _head(width: int, hidden: int, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, features))


def _places(order: torch.Tensor, width: int) -> torch.Tensor:
    return order[:, :, None].expand(-1, -1, width)


def _patches(images: torch.Tensor, side: int) -> torch.Tensor:
    """Cut images into patches, `[B, 3, H, W] -> [B, N, P]`."""
    batch, _, height, width = images.shape
    cut = images.reshape(batch, 3, height // side, side, width // side, side).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(batch, -1, side * side * 3)


class _Decoder(nn.Module):
    """A decoder: mask tokens, linear map, positions, blocks, norm, `[B, 1 + K, D] -> [B, 1 + N, W]`."""

    def __init__(self, width: int, inner: int, depth: int, heads: int, grid: int, positions: bool):
        super().__init__()
        self.embed, self.blocks, self.norm = nn.Linear(width, inner), _blocks(inner, depth, heads), _norm(inner)
        table = torch.from_numpy(sincos_positions(inner, grid).copy())
        self.register_buffer("positions", table if positions else torch.zeros_like(table))

    def forward(self, tokens: torch.Tensor, mask_token: torch.Tensor, restore: torch.Tensor) -> torch.Tensor:
        hidden = mask_token.expand(len(tokens), 1 + restore.shape[1] - tokens.shape[1], -1)
        patches = torch.cat([tokens[:, 1:], hidden], 1).gather(1, _places(restore, tokens.shape[2]))
        return self.norm(self.blocks(self.embed(torch.cat([tokens[:, :1], patches], 1)) + self.positions))


class _Target(nn.Module):
    """Encoder, representation decoder and projector."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        size = spec.size
        self.patch_embed = nn.Conv2d(3, size.width, size.patch_size, size.patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, size.width) * 0.02)
        self.mask_token = nn.Parameter(torch.randn(1, 1, size.width) * 0.02)
        self.register_buffer("positions", torch.from_numpy(sincos_positions(size.width, spec.grid)[1:].copy()))
        self.blocks, self.norm = _blocks(size.width, size.depth, size.heads), _norm(size.width)
        self.rep_decoder = _Decoder(size.width, size.width, spec.rep_depth, spec.rep_heads, spec.grid, False)
        self.rep_pred = nn.Linear(size.width, size.width)
        self.projector = _head(size.width, spec.projection_hidden, spec.projection_features)

    def encode(self, images: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.positions
        x = x.gather(1, _places(kept, x.shape[2]))
        return self.norm(self.blocks(torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)))

    def project(self, tokens: torch.Tensor, restore: torch.Tensor) -> torch.Tensor:
        return self.projector(self.rep_pred(self.rep_decoder(tokens, self.mask_token, restore)).mean(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        every = torch.arange(self.positions.shape[0]).expand(len(images), -1)
        return self.project(self.encode(images, every), every)


class _Online(_Target):
    """The target's parts, the pixel decoder and the predictor."""

    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        self.seen = spec.seen
        self.pixel_decoder = _Decoder(
            spec.size.width, spec.pixel_width, spec.pixel_depth, spec.pixel_heads, spec.grid, True
        )
        self.pixel_pred = nn.Linear(spec.pixel_width, 3 * spec.size.patch_size**2)
        self.predictor = _head(spec.projection_features, spec.projection_hidden, spec.projection_features)

    def forward(self, images: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        order = mask.argsort(dim=1, stable=True)
        restore = order.argsort(1)
        tokens = self.encode(images, order[:, : self.seen])
        pixels = self.pixel_pred(self.pixel_decoder(tokens, self.mask_token, restore))[:, 1:]
        return pixels, self.predictor(self.project(tokens, restore))


def _images(batch: dict[str, np.ndarray], statistics: Statistics) -> torch.Tensor:
    """Return the normalised images of a batch, `[B, 3, H, W]`."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (statistics.mean, statistics.std))
    return (torch.from_numpy(batch["image"]).permute(0, 3, 1, 2) / 255 - mean) / std


def pretraining(
    spec: ModelSpec, statistics: Statistics, region_weight: float, instance_weight: float, rate: float
) -> Callable[[dict[str, np.ndarray]], float]:
    """Return a pretraining step from a batch with `image`, `mask` and `region_mask` to its loss."""
    online = _Online(spec)
    target = _Target(spec)
    target.load_state_dict(online.state_dict(), strict=False)
    target.requires_grad_(False)
    own = dict(online.named_parameters())
    pairs = [(parameter, own[name]) for name, parameter in target.named_parameters()]
    optimizer = torch.optim.AdamW(online.parameters(), rate, (0.9, 0.95), weight_decay=0.05)

    def step(batch: dict[str, np.ndarray]) -> float:
        images = _images(batch, statistics)
        mask, region = (torch.from_numpy(batch[name]).float() for name in ("mask", "region_mask"))
        pixels, prediction = online(images, mask)
        with torch.no_grad():
            projection = target(images)
        goal = _patches(images, spec.size.patch_size)
        goal = (goal - goal.mean(-1, keepdim=True)) / (goal.var(-1, keepdim=True) + 1e-6).sqrt()
        error = ((pixels - goal) ** 2).mean(-1)
        loss = (error * mask).sum() / mask.sum() + region_weight * (error * region).sum() / region.sum()
        loss = loss - instance_weight * nn.functional.cosine_similarity(prediction, projection).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(online.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for average, parameter in pairs:
                average.mul_(0.996).add_(parameter, alpha=0.004)
        return loss.item()

    return step


def _classifier(size: Size, image_size: int, classes: int) -> VisionTransformer:
    return VisionTransformer(
        image_size, size.patch_size, num_classes=classes, global_pool="avg", embed_dim=size.width,
        depth=size.depth, num_heads=size.heads,
    )  # fmt: skip


def finetuning(
    size: Size, image_size: int, statistics: Statistics, rate: float
) -> Callable[[dict[str, np.ndarray]], float]:
    """Return a full fine-tuning step with two classes from a batch with `image` and `label` to its loss."""
    model = _classifier(size, image_size, 2)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.03)
    measure = nn.CrossEntropyLoss(label_smoothing=0.1)

    def step(batch: dict[str, np.ndarray]) -> float:
        loss = measure(model(_images(batch, statistics)), torch.from_numpy(batch["label"]).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def inference(size: Size, image_size: int, statistics: Statistics) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Return a scoring step with two classes from a batch with `image` to log-probabilities, `[B, 2]`."""
    model = _classifier(size, image_size, 2).eval()

    @torch.inference_mode()
    def step(batch: dict[str, np.ndarray]) -> np.ndarray:
        return model(_images(batch, statistics)).log_softmax(-1).numpy()

    return step
