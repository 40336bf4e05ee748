"""Untrusted lists, settings and messages, as targets of the fuzzer."""

import contextlib
import hashlib
import io
import json
import math
import warnings
from pathlib import Path

import numpy as np
from absl import flags
from etils import epath
from ml_collections import config_flags

from fsfm_jax.apps.reading import Crop, Miss, Preview, Reading
from fsfm_jax.apps.wire import BrokenWorker, read_reading, write_progress, write_reading
from fsfm_jax.config import options
from fsfm_jax.detection import export_reader
from fsfm_jax.prepare.manifests.manifest import Request, WrongDownload
from fsfm_jax.prepare.manifests.registry import DATASETS
from fsfm_jax.resolve.pretrain import resolve_pretraining
from fsfm_jax.run import digests
from fsfm_jax.weights import artifact, export_file, official_statistics
from fsfm_jax.weights.hub_address import parse_address
from reliability.fuzz_judge import Target, Told
from reliability.fuzz_media import placed
from reliability.fuzz_records import JSON_WORDS

# Data set, the list in it, an honest list, and files beside it.
LISTS = (
    ("label_file", "train.txt", b"a b.png 1\nc.mp4,0\n", ("a b.png", "c.mp4")),
    ("label_file", "classes.txt", b"real\nfake\n", ("a.png", "train.txt=a.png 1")),
    ("celebdf_v2", "List_of_testing_videos.txt", b"1 Celeb-real/a.mp4\n0 Celeb-synthesis/b.mp4\n",
     ("Celeb-real/a.mp4", "Celeb-synthesis/b.mp4")),
    ("dfdc", "labels.csv", b"filename,label\na.mp4,0\n", ("a.mp4",)),
    ("dfdcp", "dataset.json", b'{"method_A/1/a.mp4": {"label": "fake", "set": "test"}}', ("method_A/1/a.mp4",)),
    ("ffpp_originals", "train.json", b'[["071", "054"]]', ("val.json=[]", "test.json=[]",
     "original_sequences/youtube/c23/videos/071.mp4")),
    ("msu_mfsd", "train_sub_list.txt", b"01\n2.0e+00\n", ("test_sub_list.txt=03", "scene01/attack/x.txt=",
     "scene01/real/real_client001_android_SD_scene01.mp4")),
    ("casia_surf", "train_list.txt", b"Training/fake_part/a/b.rssdk/color/1.jpg d/1.jpg i/1.jpg 0\n",
     ("Training/fake_part/a/b.rssdk/color/1.jpg",)),
    ("mcio_frames", "txt/msu_real_train.txt", b"msu/train/real/a_frame0.png\n",
     ("txt/msu_fake_train.txt=msu/train/fake/b_frame1.png", "frame/msu/train/fake/b_frame1.png",
      "frame/msu/train/real/a_frame0.png")),
    ("deepfakebench", "dataset_json/UADFV.json", b'{"UADFV": {"UADFV_Real": {"test": {"c23": {"0": {"label": '
     b'"UADFV_Real", "frames": ["UADFV/r/0/000.png"]}}}}, '
     b'"UADFV_Fake": {"test": {"1": {"frames": ["UADFV\\\\f\\\\0.png"]}}}}}', ("UADFV/r/0/000.png", "UADFV/f/0.png")),
    ("df40", "dataset_json/blendface_cdf.json", b'{"blendface_cdf": {"blendface_Real": {"test": {"0": {"frames": '
     b'["r/0/0.png"]}}}, "blendface_Fake": {"test": {"1": {"frames": ["f/0/0.png"]}}}}}', ("r/0/0.png", "f/0/0.png")),
)  # fmt: skip


def _read_list(data: bytes, folder: Path) -> None:
    name, place, _, beside = LISTS[data[0] % len(LISTS)] if data else LISTS[0]
    root = folder / f"{data[0] % len(LISTS) if data else 0}"
    if not root.exists():
        for path in (*beside, place):
            path, _, content = path.partition("=")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
    (root / place).write_bytes(data[1:])
    data_set = DATASETS[name]
    found = data_set.walk(Request(root, data_set.variants[0] if data_set.variants else ""))
    for items in found.splits.values():
        for item in items:
            assert ".." not in item.path.split("/") and not item.path.startswith("/")


def _lists() -> list[bytes]:
    return [bytes([number]) + honest for number, (_, _, honest, _) in enumerate(LISTS)]


RECIPE = Path(__file__).parents[1] / "configs" / "pretrain_vitb.py"


def _configure(data: bytes, folder: Path) -> None:
    """Read lines of FIELD=VALUE, as after --config. on the command line, and resolve the configuration."""
    lines = [line for line in data.decode(errors="replace").split("\n") if line]
    arguments = ["program", f"--config={RECIPE}", f"--workdir={folder}", *(f"--config.{line}" for line in lines)]
    values, said = flags.FlagValues(), io.StringIO()
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    # Which fields are options it reads from `sys_argv`: without it there would be none, and every line be refused.
    holder = config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=arguments)
    try:
        with contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"the load_module\(\) method", DeprecationWarning)  # in ml_collections
            options.read_options(arguments, values)
    except SystemExit as ended:
        assert ended.code == options.WRONG_USE, f"expected exit code {options.WRONG_USE}, found {ended.code}"
        raise Told(said.getvalue().removesuffix("\n")) from ended
    resolved = resolve_pretraining(holder.value, 1_000_000, 1)
    assert resolved.schedule.total >= 1 and math.isfinite(resolved.schedule.peak)


def _arguments() -> list[bytes]:
    return [b"batch.size=8\nduration=50 epochs\n", b"mask.ratio=0.5\nmodel.size=vit_s16\nmask.strategy=random\n",
            b"optimizer.warmup=10 steps\ncheckpoint.every=100 examples\nseed=7\n"]  # fmt: skip


def _read_digests(data: bytes, folder: Path) -> None:
    """Read the list of a checkpoint, whose checksum an attacker can make fit."""
    try:
        content = json.loads(data)
        content["sha256"] = digests._of_list(content["files"])
        data = json.dumps(content).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    placed(data, folder, digests.FILE)
    placed(b"state", folder, "state")
    place = epath.Path(folder)
    digests.last_whole(place, [1], lambda step: digests.complaints(place))


def _digests() -> list[bytes]:
    whole = hashlib.sha256(b"state").hexdigest().encode()
    return [
        b'{"files": {"state": [5, "' + whole + b'"]}, "sha256": ""}',
        b'{"files": {"state": [5, null], "gone": [3, "00"]}, "sha256": ""}',
    ]


def _read_sidecar(data: bytes, folder: Path) -> None:
    """Read the bytes as the JSON of a serialized detector and as that of an export."""
    placed(data, folder, "file.json")
    placed(data, folder, "weights.pth.json")
    export = export_file.find_export(placed(b"file", folder, "weights.pth"))
    if export is None:
        artifact.read(placed(b"file", folder, "file"))
    else:
        export_reader.open_export(export)


def _sidecars() -> list[bytes]:
    threshold = {
        "value": 0.5,
        "rule": "equal error",
        "split": "val",
        "false_positive_rate": 0.1,
        "false_negative_rate": None,
    }
    card = {
        "format": artifact.FORMAT, "format_version": artifact.VERSION, "class_names": ["fake", "real"], "real": 1,
        "artifact": {"kind": artifact.JAX_EXPORT, "bytes": 4, "sha256": "0" * 64, "platforms": ["cpu"]},
        "image_size": 224, "statistics": {}, "selection": {}, "origin": {},
        "calibration": {"temperature": 1.5, "thresholds": {"frame": [threshold], "video": []}},
    }  # fmt: skip
    export = card | {
        "format": "timm", "kind": "classifier", "size": "tiny16", "base": "fsfm", "image_size": 32,
        "statistics": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
        "config": {"model.size": "tiny16", "tuning.method": "full"},
        "files": {"weights.pth": {"sha256": "0" * 64, "bytes": 4}}, "timm": {},
    }  # fmt: skip
    return [json.dumps(found).encode() for found in (card, card | {"calibration": None}, export)]


def _read_statistics(data: bytes, folder: Path) -> None:
    placed(data, folder, official_statistics.STATISTICS_FILE)
    official_statistics.statistics_beside(str(folder / "checkpoint.pth"))


def _statistics() -> list[bytes]:
    return [b'{"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 1]}\n']


def _read_address(data: bytes, folder: Path) -> None:
    """Read the bytes as an address on a command line or in somebody's instructions."""
    text = data.decode(errors="surrogateescape")
    address = parse_address(text)
    assert str(address).lower() == text.lower() and address.repository.count("/") == 1
    assert len(address.sha256) in (0, 64)
    file = address.file.split("/") if address.file else []
    for part in (*address.repository.split("/"), *file, *address.revision.split("/")):
        assert part.strip(".") and not {*part} & {*" ?#%:@\\"}


def _addresses() -> list[bytes]:
    return [
        b"hf://Wolowolo/fsfm-3c/pretrained_models/FF++_o_c23_ViT-B/checkpoint-400.pth@refs/pr/1",
        b"hf://a/b/c.safetensors@0123456789abcdef0123456789abcdef01234567",
        b"hf://a/b@v1.0#sha256=" + b"0123456789abcdef" * 4,
    ]


def _read_answer(data: bytes, folder: Path) -> None:
    """Read an answer that a compromised worker could send."""
    reading = read_reading(io.BytesIO(data), "photo.png", 4)
    assert all(crop.pixels.shape == (4, 4, 3) for crop in reading.crops)


def _answers() -> list[bytes]:
    found = []
    pixels = np.zeros((4, 4, 3), np.uint8)
    crop = Crop(0, 0, (1, 2, 3, 4), (1, 2, 3), 0.5, pixels, None)
    for crops in ((), (crop, crop)):
        file = io.BytesIO()
        write_progress(file, 1, 2)
        misses, previews = (Miss(0, "no_face", "none"),), (Preview(0, (4, 4), pixels),)
        write_reading(file, Reading("photo.png", "photo", crops, misses, "", "", 25.0, (4, 4), previews=previews))
        found.append(file.getvalue())
    return found


FIELDS = tuple(f"{name}=".encode() for name in (
    "batch.size", "batch.per_device", "batch.accumulation", "duration", "mask.ratio", "mask.count", "model.size",
    "seed",
    "optimizer.warmup", "optimizer.base_learning_rate", "checkpoint.every", "checkpoint.keep_every", "target.momentum",
    "loss.kind", "loss.normalise_pixels", "data.statistics", "partition.fsdp", "figure.every", "log_every",
))  # fmt: skip
VALUES = (b" epochs", b" steps", b" examples", b"nan", b"inf", b"-1", b"1e400", b"0x10", b"None", b"True", b"9" * 30)
LIST_WORDS = (b"../", b"/etc/passwd", b"\xef\xbb\xbf", b" 1\n", b",0\n", b'"', b"\0", b"\x1b[2J", b"\xed\xa0\x80",
              b".png", b"filename,label\n", b'"set": "test"', b'"label": "fake"')  # fmt: skip
ADDRESS_WORDS = (b"hf://", b"@main", b"/", b"..", b".pth", b".safetensors", b"%2e%2e", b"?x=1", b"#sha256=", b"\n",
                 b"\x1b[2J", b"https://", b"@", b"\xed\xa0\x80", b"\xff")  # fmt: skip
ANSWER_WORDS = tuple(f'"{name}"'.encode() for name in ("crops", "misses", "size", "rate", "kind", "reason", "detail"))
SIDECAR_WORDS = tuple(f'"{name}"'.encode() for name in (
    "class_names", "real", "artifact", "calibration", "temperature", "thresholds", "frame", "video", "value", "bytes",
    "format", "kind", "size", "base", "config", "files", "image_size", "statistics",
))  # fmt: skip
TARGETS = (
    Target("list", _read_list, (WrongDownload,), _lists, LIST_WORDS + JSON_WORDS),
    Target("configuration", _configure, (ValueError, Told), _arguments, FIELDS + VALUES, 512),
    Target("digests", _read_digests, (ValueError,), _digests, (b'"state"', b'"files"', b"5", b'"../x"', *JSON_WORDS)),
    Target("sidecar", _read_sidecar, (ValueError,), _sidecars, JSON_WORDS + SIDECAR_WORDS),
    Target("statistics", _read_statistics, (ValueError,), _statistics, (b'"mean"', b'"std"', *JSON_WORDS), 512),
    Target("address", _read_address, (ValueError,), _addresses, ADDRESS_WORDS, 512),
    Target("answer", _read_answer, (BrokenWorker,), _answers, ANSWER_WORDS + JSON_WORDS, 1024, 2),
)  # fmt: skip
