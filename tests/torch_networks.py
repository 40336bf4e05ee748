"""Networks of PyTorch with drawn weights, and our tokens of the files that they write; for the tests of parity."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsfm_jax.models.bases import BASES
from fsfm_jax.models.vit import Encoder, Size, patchify
from fsfm_jax.weights.init import open_pretrained

WHY = "timm, torch and transformers are needed; run `make test-parity`"
torch = pytest.importorskip("torch", reason=WHY)

SIZE = Size(48, 2, 4, 8)
GRID = 4
# Two blocks in float32 in another order of summation: some 1e-6 of numbers of about 1.
TOLERANCE = 1e-5


def drawn_images(side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, side, side, 3), np.float32)


def to_torch(images: np.ndarray):
    return torch.from_numpy(np.moveaxis(images, -1, 1).copy())


def randomised(module):
    """Every parameter drawn, so that no bias is zero, no norm the identity and no factor of a branch small."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            scale = fan_in**-0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(drawn * scale + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
    return module.eval()


def features(path, base: str, images: np.ndarray, final_norm: bool = True, heads: int = SIZE.heads) -> np.ndarray:
    """Our tokens of a file."""
    size = dataclasses.replace(SIZE, heads=heads)
    found = open_pretrained(str(path), base, {"tiny": size})
    assert found.origin["size"] == "tiny"
    encoder = Encoder(
        size, images.shape[1] // size.patch_size, jnp.float32, "none", learnt_positions=True, final_norm=final_norm,
        style=BASES[base].style,
    )  # fmt: skip
    params = dict(found.params["encoder"])
    if not final_norm:
        params.pop("norm", None)
    with jax.default_matmul_precision("float32"):
        return np.asarray(encoder.apply({"params": params}, patchify(images, SIZE.patch_size)))
