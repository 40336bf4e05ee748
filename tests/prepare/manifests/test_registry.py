"""Finding data sets by name."""

from pathlib import Path

import pytest

from fsfm_jax.prepare.manifests.manifest import Request, WrongDownload
from fsfm_jax.prepare.manifests.registry import DATASETS, find

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"

PRETRAINING = {"vggface2", "youtubefaces", "ffpp_originals", "photos", "cropped_and_parsed"}


def test_names():
    assert set(DATASETS) == PRETRAINING | {
        *("ffpp_all", "ffpp_deepfakes", "ffpp_face2face", "ffpp_faceswap", "ffpp_neuraltextures", "dfd"),
        *("celebdf_v1", "celebdf_v2", "celebdf_pp", "dfdc", "dfdcp", "wilddeepfake", "diff"),
        *("df40", "deepfake_eval", "ffiw", "deepfakebench"),
        *("msu_mfsd", "casia_fasd", "replay_attack", "oulu_npu", "celeba_spoof"),
        *("uniattackdata", "uniattackdata_plus", "siw_mv2"),
        *("wmca", "casia_cefa", "casia_surf", "mcio_frames", "wcs_frames"),
        *("folder", "label_file", "cropped_frames"),
    }
    assert {name for name, data_set in DATASETS.items() if data_set.parsed} == PRETRAINING
    assert all(name == data_set.name for name, data_set in DATASETS.items())


def test_every_data_set_and_variant_is_in_the_overview_of_the_page():
    overview = PAGE.read_text().partition("## Overview")[2].partition("\n## ")[0]
    rows = [line for line in overview.splitlines() if line.startswith("| `")]
    for name, data_set in DATASETS.items():
        (row,) = [row for row in rows if f"`{name}`" in row.split("|")[1]]
        assert all(f"`{variant}`" in row for variant in data_set.variants), name


def test_variants():
    assert find("ffpp_all") == (DATASETS["ffpp_all"], "c23")
    assert find("ffpp_all:c40") == (DATASETS["ffpp_all"], "c40")
    assert find("dfd")[1] == "raw"
    assert find("ffpp_originals")[1] == "128_frames"
    assert find("vggface2") == (DATASETS["vggface2"], "")


@pytest.mark.parametrize("name, message", [
        ("vgface2", "found 'vgface2'; did you mean 'vggface2'"),
        ("", "dataset: expected one of folder, .*, found ''$"),
        ("ffpp_all:c32", "expected variant c23, c40, raw, found 'c32'; did you mean"),
        ("ffpp_all:", "expected variant c23, c40, raw, found ''"),
        ("dfdc:c23", "dataset dfdc: it has no variants, found 'c23'; use --dataset=dfdc"),
    ])  # fmt: skip
def test_errors(name, message):
    with pytest.raises(ValueError, match=message):
        find(name)


@pytest.mark.parametrize("name", DATASETS)
def test_folders_that_are_empty_missing_or_of_something_else_are_told_with_layout_or_first_entries(name, miniature):
    for root, found in ((miniature.root, "found: nothing"), (miniature.root / "gone", "found nothing there")):
        with pytest.raises(WrongDownload) as error:
            DATASETS[name].walk(Request(root, find(name)[1]))
        text = str(error.value)
        assert str(root) in text and name in text and found in text
        for line in DATASETS[name].layout.splitlines():
            assert f"\n  {line}" in text
    miniature.add(*(f"holiday {number:02}.doc" for number in range(12)))
    with pytest.raises(WrongDownload, match="found: holiday 00.doc, .*, holiday 09.doc and 2 more"):
        DATASETS[name].walk(Request(miniature.root, find(name)[1]))
