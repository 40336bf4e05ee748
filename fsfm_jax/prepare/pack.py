"""Packs a folder of photos and parsing maps into records.

    python -m fsfm_jax.prepare.pack --input=faces --output=records/faces

`--input` has the layout of the official FSFM pretraining data: `images/NAME.png` of 224x224 and
`parsing_maps/NAME.npy`. Photos are taken in the order of their names and stored as they are; only those
that are not PNG or JPEG with three channels of 8 bits (WebP, grey, palette, alpha) are stored as PNG of
the same pixels. With `--image_encoding=jpeg` every photo that is not such a JPEG is stored as one.

Shares the folder layout (`data.folder`) and the checks of photos (`data.photo`) with the reading side.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from tqdm import tqdm

from fsfm_jax.data.folder import Offenders, list_photos, read_parsing_map, read_photo
from fsfm_jax.data.photo import check_photo, decode_image, encode_jpeg, encode_png
from fsfm_jax.data.statistics import SplitStatistics
from fsfm_jax.prepare.writer import SplitWriter, check_name

IMAGE_ENCODINGS = ("keep", "jpeg")
EXAMPLES_PER_SHARD = 8192  # about 750 MB of PNG photos, 200 MB of JPEG
JPEG_QUALITY = 95
PNG_COMPRESSION = 6


def stored_photo(data: bytes, image_encoding: str, name: str) -> bytes:
    """The bytes to store for the photo `data`: PNG or JPEG with three channels of 8 bits.

    Args:
      image_encoding: "keep" leaves such PNG and JPEG as they are, "jpeg" such JPEG only.

    Raises:
      ValueError: the photo is damaged or not 224x224.
    """
    header = check_photo(data, name)
    kept = ("jpeg",) if image_encoding == "jpeg" else ("png", "jpeg")
    if header.plain and header.encoding in kept:
        return data
    image = decode_image(data, name)
    if image_encoding == "jpeg":
        return encode_jpeg(image, JPEG_QUALITY)
    return encode_png(image, PNG_COMPRESSION)


def pack(
    directory: str | os.PathLike,
    output: str | os.PathLike,
    name: str,
    split: str = "train",
    examples_per_shard: int = EXAMPLES_PER_SHARD,
    image_encoding: str = "keep",
) -> SplitStatistics:
    """Packs the photos of `directory` into the split `split` of the records directory `output`.

    All names are paired before anything is written. After a damaged photo or map nothing more is written,
    but the rest is checked too, so that one run tells of all of them.

    Raises:
      FileNotFoundError: the input folder or a part of it is missing.
      FileExistsError: `output` has that split already or holds something else.
      ValueError: names that do not pair up, damaged photos or maps, unusable arguments.
    """
    if image_encoding not in IMAGE_ENCODINGS:
        raise ValueError(f"image_encoding: expected {' or '.join(IMAGE_ENCODINGS)}, found {image_encoding!r}")
    writer = SplitWriter(output, name, split, examples_per_shard)
    photos = list_photos(directory)
    offenders = Offenders()
    with writer:
        for photo in tqdm(photos, unit="photo", desc=f"packing {name}"):
            try:
                parsing_map = read_parsing_map(directory, photo)
                data = stored_photo(read_photo(directory, photo), image_encoding, photo)
                if offenders.count:
                    decode_image(data, photo)
                else:
                    writer.add(data, parsing_map, photo)
            except ValueError as error:
                offenders.add(str(error))
        if offenders.count:
            raise ValueError(
                f"{directory}: expected {len(photos)} whole photos and parsing maps, found "
                f"{offenders.count} that cannot be used; repair or remove them and run again:{offenders}"
            )
    return writer.statistics


def name_from_output(output: str | os.PathLike) -> str:
    """The name of the data set when none is given: that of its folder, in lower case, with _ for the rest."""
    return check_name(
        re.sub(r"[^a-z0-9]+", "_", Path(output).resolve().name.lower()),
        "name of the data set, taken from --output (give one with --name),",
    )


def _report(output: str, name: str, split: str, statistics: SplitStatistics) -> str:
    mean, std = (np.array2string(np.array(part), precision=4) for part in statistics.pixel_sums.mean_std())
    return (
        f"{name}, split {split}: {statistics.examples} examples in {len(statistics.shard_lengths)} shards, "
        f"{statistics.num_bytes / 1e6:.1f} MB ({statistics.image_encoding}) in {output}\n"
        f"mean {mean} std {std} of R, G, B in 0..1\nfingerprint {statistics.fingerprint}"
    )


def _define_flags() -> None:
    # Not when imported: flags are shared by the whole process, and other programs have an --input too.
    flags.DEFINE_string("input", None, "Folder with images/ and parsing_maps/.", required=True)
    flags.DEFINE_string("output", None, "Folder to write the records into.", required=True)
    flags.DEFINE_string("name", None, "Name of the data set; by default that of the output folder.")
    flags.DEFINE_string("split", "train", "Name of the split.")
    flags.DEFINE_integer("examples_per_shard", EXAMPLES_PER_SHARD, "Records in one file.", lower_bound=1)
    flags.DEFINE_enum("image_encoding", "keep", IMAGE_ENCODINGS, "Keep photos as they are or make them JPEG.")


def main(argv: list[str]) -> None:
    """Runs the command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}: expected options of the form --name=value")
    options = flags.FLAGS
    try:
        name = options.name if options.name is not None else name_from_output(options.output)
        statistics = pack(
            options.input,
            options.output,
            name,
            options.split,
            options.examples_per_shard,
            options.image_encoding,
        )
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(_report(options.output, name, options.split, statistics))


if __name__ == "__main__":
    _define_flags()
    app.run(main)
