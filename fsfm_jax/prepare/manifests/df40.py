"""DF40: forty forgery methods in four families, as face crops with manifests in the format of DeepfakeBench.

The method of a forged face is `FAMILY/METHOD`, so that tables have rows for families and for methods.
"""

import re

from fsfm_jax.data.benchmark_manifest import is_real
from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.deepfakebench import PLACES, items_of, manifest_files, read_videos, split_name, there
from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload

# The table of the README of DF40, by the names that its manifests have.
FAMILIES = {
    "face-swapping": (
        "fsgan", "faceswap", "simswap", "inswap", "blendface", "uniface", "mobileswap", "e4s", "facedancer",
        "deepfacelab",
    ),
    "face-reenactment": (
        "fomm", "facevid2vid", "wav2lip", "MRAA", "one_shot_free", "pirender", "tpsm", "lia", "danet", "sadtalker",
        "mcnet", "hyperreenact", "heygen",
    ),
    "entire-face-synthesis": (
        "VQGAN", "StyleGAN2", "StyleGAN3", "StyleGANXL", "sd2.1", "ddim", "rddm", "pixart", "DiT", "SiT", "MidJourney",
        "whichisreal",
    ),
    "face-editing": ("CollabDiff", "e4e", "stargan", "starganv2", "styleclip"),
}  # fmt: skip
FAMILY_OF = {method: family for family, methods in FAMILIES.items() for method in methods}
# Further spellings in its folders and README.
ALIASES = {"dagan": "danet", "whichfaceisreal": "whichisreal", "ddpm": "ddim", "inswapper": "inswap"}
_KNOWN = {method.lower(): method for method in FAMILY_OF} | ALIASES
DOMAINS = ("ff", "cdf")  # forged from FaceForensics++ and from Celeb-DF
# Manifests of several methods, whose frames are in those of single ones too.
TOGETHER = re.compile(r"(FS|FR|EFS|FE)All(_ff|_cdf)?|DF40_.+", re.IGNORECASE)

LAYOUT = """\
dataset_json/simswap_ff.json, simswap_cdf.json, ..., heygen.json     one for each method, and for each source of it
deepfakes_detection_datasets/DF40/simswap/ff/frames/...              the crops, at the paths in the manifests
deepfakes_detection_datasets/FaceForensics++/..., Celeb-DF-v2/...    the real ones of most methods
"""


def _method_and_domain(name: str) -> tuple[str, str] | None:
    """Return method and source of a manifest; the source is the method itself if it has its own real faces."""
    stem, _, domain = name.rpartition("_")
    if domain not in DOMAINS or not stem:
        stem, domain = name, ""
    method = _KNOWN.get(stem.lower())
    return None if method is None else (method, domain or method)


def walk(request: Request) -> Walk:
    """List splits such as `test_ff`, `test_cdf` and, for each method with its own real faces, `test_heygen`."""
    download = Download(request, "df40", LAYOUT, any_of=PLACES)
    splits: dict[str, dict[str, Item]] = {}
    methods, strays = set(), []
    for name, path in manifest_files(download).items():
        known = _method_and_domain(name)
        if known is None:
            strays += [] if TOGETHER.fullmatch(name) else [path]
            continue
        method, domain = known
        methods.add(method)
        for video in read_videos(download, path):
            # Real faces are repeated for every method, and those of two sources may have equal names.
            owner = f"real/{video.frames[0].rpartition('/')[0]}" if is_real(video.label) else method
            split = split_name(video.split, domain)
            items = splits.setdefault(split, {})
            for item in items_of(video, f"{owner}/{video.name}", f"{FAMILY_OF[method]}/{method}"):
                kept = items.setdefault(item.path, item)
                if kept.method != item.method:
                    raise WrongDownload(
                        f"{download.root / path}: the frame {item.path} of {split} is both {kept.method or 'real'} and "
                        f"{item.method or 'real'}; copy the manifests again"
                    )
    if not splits:
        raise download.wrong("it has no manifest of a method of DF40", "put its JSON files into dataset_json/")
    missing = [method for method in FAMILY_OF if method not in methods]
    download.count("methods with a manifest", len(FAMILY_OF), len(methods), missing)
    download.left_out("manifests of no method of DF40", strays)
    return download.walk(there(download, splits), FAKE_REAL, REAL)


DF40 = DataSet(
    name="df40",
    about="DF40 (Peking University, Tencent): forty methods in four families, face crops",
    layout=LAYOUT,
    walk=walk,
    cropped=True,
)
