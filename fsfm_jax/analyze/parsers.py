"""Dependence of masks on the face parser: a comparison of several parsers' maps on the same faces.

The report has the overlap of each class and region, and the similarity of the masks drawn from them. To measure the
effect on the pretraining loss, prepare two data sets and run twice: see docs/analysis.md.
"""

import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fsfm_jax import regions
from fsfm_jax.analyze.agreement import class_overlaps, mask_agreement, region_overlaps
from fsfm_jax.data.resizing import resize_whole
from fsfm_jax.data.transforms import resize_pair
from fsfm_jax.figures.faces import Faces, find_maps
from fsfm_jax.figures.gallery import CELL, Row, write_gallery
from fsfm_jax.figures.reconstruction import CLASS_COLOURS
from fsfm_jax.prepare.crop import Detection, NoFace, Square
from fsfm_jax.prepare.parse.parser import PARSERS, make_parser

STORED = "stored"  # the maps of the data set itself
DEFAULT = (STORED, "embedded", "farl", "boxes")
PATCH, PICTURED = 16, 6
EMPTY = "–"
# A function from a photo [224, 224, 3] uint8 and the index of the face to its map; raises NoFace if it cannot parse it.
Parse = Callable[[np.ndarray, int], np.ndarray]


def compare_parsers(
    faces: Faces, names: Sequence[str], weights: Mapping[str, str], against: Sequence[str],
    strategies: Sequence[str], ratio: float, rolls: int, seed: int, folder: str,
) -> dict:  # fmt: skip
    """Write `parsers.md`, `parsers.json` and `parsers.png`.

    Faces that one of the parsers cannot parse are counted and left out of all comparisons.

    Args:
      names: `stored` for the maps of the data set, and keys of `PARSERS`.
      weights: weight files by parser name. A parser that needs a file and has none is reported as absent.
      against: other data sets with maps of the same faces, matched by the stored source of each face.

    Raises:
      ValueError: if a name is unknown, there are fewer than two sets of maps, or no face is in all of them.
      FileNotFoundError, RuntimeError: if a given weight file cannot be used.
    """
    parse, absent = _open(faces, names, weights, against)
    if len(parse) < 2:
        raise ValueError(
            f"--parsers: expected at least two sets of maps to compare, found {', '.join(parse) or 'none'}"
            + "".join(f"; {name} is absent: {reason}" for name, reason in absent.items())
        )
    photos = [resize_whole(image, CELL) for image in faces.images]
    maps, kept, failed = _parse_all(parse, photos)
    if not kept:
        raise ValueError(
            f"--data: expected a face that all of {', '.join(parse)} can parse; found none in {faces.name}"
        )
    found = {
        "data": faces.name, "faces": len(kept), "left_out": failed, "absent": absent, "patch": PATCH, "ratio": ratio,
        "rolls": rolls, "seed": seed, "pairs": _compare(maps, strategies, ratio, rolls, seed),
    }  # fmt: skip
    with open(os.path.join(folder, "parsers.json"), "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    with open(os.path.join(folder, "parsers.md"), "w", encoding="utf-8") as file:
        file.write(describe(found))
    rows = [
        Row([photos[kept[number]], *(CLASS_COLOURS[one[number]] for one in maps.values())], "")
        for number in range(min(PICTURED, len(kept)))
    ]
    write_gallery(os.path.join(folder, "parsers.png"), ["photo", *maps], rows)
    return found


def _open(
    faces: Faces, names: Sequence[str], weights: Mapping[str, str], against: Sequence[str]
) -> tuple[dict[str, Parse], dict[str, str]]:
    """Return the available parsers by name, and the reasons why others are absent."""
    parse: dict[str, Parse] = {}
    absent: dict[str, str] = {}
    for name in names:
        if name == STORED:
            if faces.maps is None:
                absent[name] = f"{faces.name} has no parsing maps"
            else:
                stored = faces.maps
                parse[name] = lambda _, index, stored=stored: stored[index]
            continue
        if name not in PARSERS:
            raise ValueError(f"--parsers: expected some of {', '.join((STORED, *PARSERS))}; found {name!r}")
        try:
            parse[name] = _parse_with(make_parser(name, weights.get(name, "")))
        except (FileNotFoundError, RuntimeError) as error:
            if weights.get(name):
                raise
            absent[name] = str(error).replace("--parser_weights", f"--{name}_weights")  # as this command calls it
    for spec in against:
        parse[spec] = _look_up(spec, find_maps(spec, faces.sources), faces.sources)
    return parse, absent


def _parse_with(parser: Callable[[np.ndarray, Detection, Square, int], np.ndarray]) -> Parse:
    # The box is the whole crop, because the rest of the picture is not available.
    return lambda photo, _: parser(photo, Detection(0, 0, CELL - 1, CELL - 1, 1.0), Square(0, 0, CELL), CELL)


def _look_up(spec: str, maps: Mapping[str, np.ndarray], sources: Sequence[str]) -> Parse:
    def find(_: np.ndarray, index: int) -> np.ndarray:
        if sources[index] not in maps:
            raise NoFace(f"{spec} has no face from {sources[index]}")
        return maps[sources[index]]

    return find


def _parse_all(
    parse: Mapping[str, Parse], photos: Sequence[np.ndarray]
) -> tuple[dict[str, np.ndarray], list[int], dict[str, int]]:
    """Return maps `[n, 224, 224]` of the faces that all could parse, their indices, and each parser's failures."""
    failed = dict.fromkeys(parse, 0)
    found: dict[str, list[np.ndarray]] = {name: [] for name in parse}
    kept = []
    for index, photo in enumerate(photos):
        of_face = {}
        for name, one in parse.items():
            try:
                of_face[name] = resize_pair(photo, one(photo, index), CELL)[1]
            except NoFace:
                failed[name] += 1
        if len(of_face) == len(parse):
            kept.append(index)
            for name, parsing_map in of_face.items():
                found[name].append(parsing_map)
    return {name: np.stack(maps) for name, maps in found.items() if maps}, kept, failed


def _compare(
    maps: Mapping[str, np.ndarray], strategies: Sequence[str], ratio: float, rolls: int, seed: int
) -> list[dict]:
    bits = {name: np.stack([regions.patch_bits(one, PATCH) for one in of_name]) for name, of_name in maps.items()}
    return [
        {
            "parsers": [one, other],
            "pixels": class_overlaps(maps[one], maps[other]),
            "patches": region_overlaps(bits[one], bits[other]),
            "masks": {
                strategy: mask_agreement(strategy, ratio, bits[one], bits[other], rolls, seed)
                for strategy in strategies
            },
        }
        for one, other in itertools.combinations(maps, 2)
    ]


def describe(found: Mapping) -> str:
    """Return the tables as Markdown, with a column for each pair of parsers."""
    pairs = found["pairs"]
    titles = [" and ".join(pair["parsers"]) for pair in pairs]
    masks = {
        f"{strategy}, {measure}": [pair["masks"][strategy][measure] for pair in pairs]
        for strategy in pairs[0]["masks"]
        for measure in pairs[0]["masks"][strategy]
    }
    left_out = ", ".join(f"{name} {count}" for name, count in found["left_out"].items() if count)
    lines = [
        f"# Parsers on {found['faces']} faces of {found['data']}", "",
        *(f"- Absent, so not compared: {name}. {reason}" for name, reason in found["absent"].items()),
        *([f"- Faces left out because a parser found none in them: {left_out}."] if left_out else []),
        "- Parsers in this report saw only the crops; stored maps may have been made from the whole pictures.",
        f"- Patches of {found['patch']} pixels; masks at ratio {found['ratio']:g}, {found['rolls']} of each face, seed "
        f"{found['seed']}.", "",
        "Intersection over union of the pixels of each class:", "",
        *_table("class", titles, _rows(pairs, "pixels")), "",
        "Intersection over union of the patches of each region:", "",
        *_table("region", titles, _rows(pairs, "patches")), "",
        "Masks drawn with the same random numbers: share of hidden patches that both hide, overlap of the covered "
        f"regions, share of identical masks. Independent masks share {found['ratio']:g} of their "
        "hidden patches.", "",
        *_table("masks", titles, masks),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _rows(pairs: Sequence[Mapping], quantity: str) -> dict[str, list]:
    return {name: [pair[quantity][name] for pair in pairs] for name in pairs[0][quantity]}


def _table(head: str, titles: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> list[str]:
    lines = [[head, *titles], ["---"] * (1 + len(titles))]
    lines += [[name, *(EMPTY if v is None else f"{v:.3f}" for v in values)] for name, values in rows.items()]
    return [f"| {' | '.join(line)} |" for line in lines]
