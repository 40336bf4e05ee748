"""Figures of attention: distances and divergences by block and head, and maps of the class token's attention."""

import functools
import json
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.data.resizing import resize_whole
from fsfm_jax.detection.encoder import LoadedEncoder
from fsfm_jax.figures import plot
from fsfm_jax.figures.attention import (
    attention_weights,
    class_token_maps,
    head_divergences,
    mean_distances,
    plot_heads,
)
from fsfm_jax.figures.cam import overlay
from fsfm_jax.figures.gallery import CELL, Row, write_gallery
from fsfm_jax.models.vit import Encoder

BATCH = 4  # the weights of 12 blocks with 12 heads of ViT-B take 22 MB per image
MOST_HEADS = 6  # default number of heads in the picture


def compare_heads(opened: Sequence[LoadedEncoder], faces: np.ndarray, folder: str) -> dict:
    """Write `attention.png` and `attention.json`: distances in pixels and divergences in nats, by block and head.

    Both are means over `faces [n, S, S, 3] uint8`. FSFM supplement, Fig. 2.
    """
    found = {}
    for one in opened:
        distance, divergence = _measure(one, faces)
        found[one.name] = {
            "blocks": len(distance), "heads": distance.shape[1], "images": len(faces),
            "distance_in_pixels": distance.tolist(), "divergence_in_nats": divergence.tolist(),
        }  # fmt: skip
    with open(os.path.join(folder, "attention.json"), "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    drawn = [
        (_short(name), np.array(one["distance_in_pixels"]), np.array(one["divergence_in_nats"]))
        for name, one in found.items()
    ]
    plot.save(os.path.join(folder, "attention.png"), plot_heads(drawn))
    return found


def _measure(one: LoadedEncoder, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean distances and divergences over the faces, `[L, H]` each."""
    look = jax.jit(functools.partial(_look, encoder=one.encoder))
    totals, count = [0.0, 0.0], 0
    for start in range(0, len(faces), BATCH):
        part = faces[start : start + BATCH]
        patches = one.patches(np.concatenate([part, np.repeat(part[-1:], BATCH - len(part), axis=0)]))
        for number, values in enumerate(look(one.params, patches)):
            totals[number] = totals[number] + np.asarray(values, np.float64)[:, : len(part)].sum(axis=1)
        count += len(part)
    return totals[0] / count, totals[1] / count


def _look(params: dict, patches: jax.Array, encoder: Encoder) -> tuple[jax.Array, jax.Array]:
    # Going block by block frees the large arrays [B, H, T, T] early.
    weights = attention_weights(encoder, params, patches)
    distances = [mean_distances(block, encoder.grid, encoder.size.patch_size) for block in weights]
    return jnp.stack(distances), jnp.stack([head_divergences(block) for block in weights])


def draw_maps(opened: Sequence[LoadedEncoder], faces: np.ndarray, folder: str, heads: int | None = None) -> list:
    """Write `maps.png` and `maps.npz`: the attention of the class token in the last block. FSFM supplement, Fig. 3.

    For each encoder the picture shows the mean over its heads and the first `heads` heads, each divided by its maximum.
    `heads` None means six heads for one encoder, and none for several. The file has `maps [n, H, G, G] float32` of one
    encoder, or `maps_0`, `maps_1`, ... of several with their `names`.

    Raises:
      ValueError: if an encoder has no class token.
    """
    found = [_class_token_maps(one, faces) for one in opened]
    if len(found) == 1:
        arrays = {"maps": found[0]}
    else:
        arrays = {f"maps_{number}": maps for number, maps in enumerate(found)}
        arrays["names"] = np.array([one.name for one in opened])
    np.savez_compressed(os.path.join(folder, "maps.npz"), **arrays)
    most = heads if heads is not None else MOST_HEADS if len(opened) == 1 else 0
    titles, columns = ["photo"], []
    for one, maps in zip(opened, found, strict=True):
        shown = min(maps.shape[1], most)
        columns.append(np.concatenate([maps.mean(axis=1, keepdims=True), maps[:, :shown]], axis=1))
        titles.append("mean of the heads" if len(opened) == 1 else _short(one.name))
        titles += [f"head {number + 1}" for number in range(shown)]
    rows = []
    for number, face in enumerate(faces):
        small = resize_whole(face, CELL)
        heats = [heat for of_encoder in columns for heat in of_encoder[number]]
        rows.append(Row([small, *(overlay(small, heat / max(heat.max(), 1e-30)) for heat in heats)], ""))
    whose = f"{_short(opened[0].name)}: " if len(opened) == 1 else "mean of the heads, "
    note = f"{whose}attention of the class token in the last block; each map is divided by its maximum."
    write_gallery(os.path.join(folder, "maps.png"), titles, rows, note)
    return found


def _class_token_maps(one: LoadedEncoder, faces: np.ndarray) -> np.ndarray:
    look = jax.jit(functools.partial(_class_token, encoder=one.encoder))
    parts = []
    for start in range(0, len(faces), BATCH):
        part = faces[start : start + BATCH]
        patches = one.patches(np.concatenate([part, np.repeat(part[-1:], BATCH - len(part), axis=0)]))
        parts.append(np.asarray(look(one.params, patches))[: len(part)])
    return np.concatenate(parts)


def _class_token(params: dict, patches: jax.Array, encoder: Encoder) -> jax.Array:
    return class_token_maps(attention_weights(encoder, params, patches)[-1], encoder.grid)


def _short(name: str) -> str:
    return os.path.basename(os.path.normpath(name))
