"""The table between our parameter paths and the official names, in both directions."""

import re

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fsfm_jax.weights.names import (
    ANTISPOOF,
    CLASSIFIER,
    PRETRAINING,
    finetuned_from_official,
    finetuned_to_official,
    from_official,
    official_name,
    our_path,
    to_official,
)


@pytest.mark.parametrize("network", ["online", "target"])
def test_there_and_back_changes_no_bit(golden, network):
    official = reference.state_dict(golden("pretrain_tiny"), f"{network}/")
    again = to_official(from_official(official, reference.model_spec()), reference.model_spec())
    assert again.keys() == official.keys()
    for name, array in official.items():
        if name.endswith("pos_embed"):  # computed here, carried there: the two differ by rounding of sin and cos
            np.testing.assert_allclose(again[name], array, rtol=0, atol=1e-7, err_msg=name)
        else:
            assert again[name].dtype == array.dtype
            np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.parametrize("size", ["small", "base"])
def test_every_official_name_has_a_path_and_only_one(golden, size):
    names = golden("schedules")[f"groups/fsfm_vit_{size}_patch16/names"]
    learnt = [name for name in names if not name.endswith("pos_embed")]
    paths = [our_path(name) for name in learnt]
    assert len(set(paths)) == len(learnt) == 294
    assert [official_name(path) for path in paths] == learnt


def test_unknown_names_and_other_positions_than_configured_are_refused(golden):
    with pytest.raises(ValueError, match="blocks.0.attn.relative_position: unknown"):
        our_path("blocks.0.attn.relative_position")
    with pytest.raises(ValueError, match="encoder/adapter/kernel: no official name"):
        official_name("encoder/adapter/kernel")
    official = reference.state_dict(golden("pretrain_tiny"), "online/")
    with pytest.raises(ValueError, match="rep_decoder_pos_embed.*model.rep_positions"):
        from_official(official, reference.model_spec(rep_positions="sincos"))


OTHER_NUMBERS = ["00", "03", "\u0663", "\uff13", "1\u0660", "000000003"]  # 3 in Arabic and in wide digits, and a 10


@pytest.mark.parametrize("written", OTHER_NUMBERS)
def test_a_block_has_one_official_name_only(written):
    for table, prefix in ((PRETRAINING, ""), (PRETRAINING, "rep_decoder_"), (ANTISPOOF, "backbone.vit.")):
        name = f"{prefix}blocks.{written}.mlp.fc1.bias"
        with pytest.raises(ValueError) as error:
            our_path(name, table)
        assert str(error.value) == (
            f"official parameter {name}: the name of this parameter is {prefix}blocks.{int(written)}.mlp.fc1.bias; "
            "expected a block's number in the digits 0 to 9 without zeros in front"
        )


def test_what_is_no_number_names_no_block_and_a_block_has_one_path_only():
    for written in ("{i}", "", "-1", "+1", " 1", "1 ", "1_0", "\u00b2", "1.2", "x", "1" * 5000):
        with pytest.raises(ValueError, match=r"^official parameter blocks\..*: unknown; is this a pretraining ch"):
            our_path(f"blocks.{written}.norm1.weight")
    for written in ("{i}", "", "3", "003", "0100", "1\u0663", "\u0661\u0663", "1_0", "1" * 5000):
        with pytest.raises(ValueError, match=r"^parameter encoder/block_.*: no official name is known"):
            official_name(f"encoder/block_{written}/norm1/scale")
    for number, ours in ((0, "00"), (9, "09"), (10, "10"), (99, "99"), (100, "100")):
        assert our_path(f"blocks.{number}.attn.qkv.bias") == f"encoder/block_{ours}/attn/qkv/bias"
        assert official_name(f"encoder/block_{ours}/attn/qkv/bias") == f"blocks.{number}.attn.qkv.bias"


@settings(deadline=None)
@given(st.sampled_from([PRETRAINING, CLASSIFIER, ANTISPOOF]), st.data())
def test_a_name_is_refused_or_is_the_one_that_is_written_back(table, data):
    row = data.draw(st.sampled_from([*table.inverse]))
    number = data.draw(st.integers(0, 10**9 - 1).map(str) | st.text(st.characters(categories=["Nd"])) | st.text())
    name = row.replace("{i}", number)
    try:
        path = our_path(name, table)
    except ValueError:
        assert "{i}" in row and not re.fullmatch("0|[1-9][0-9]{0,8}", number)
    else:
        assert official_name(path, table) == name


# Fine-tuned networks.

FINETUNED = {
    "finetune_tiny/plain_gp/state/": (CLASSIFIER, 32),
    "finetune_tiny/plain_cls/state/": (CLASSIFIER, 32),
    "fas_tiny/fas_plain/state_before/": (ANTISPOOF, 36),
}


@pytest.mark.parametrize("place", FINETUNED)
def test_a_fine_tuned_state_dict_there_and_back_changes_no_bit(golden, place):
    file, prefix = place.split("/", 1)
    table, count = FINETUNED[place]
    official = reference.state_dict(golden(file), prefix)
    again = finetuned_to_official(finetuned_from_official(official, table), table, patch_size=8)
    assert again.keys() == official.keys() and len(again) == count
    for name, array in official.items():  # the learnt positions too
        assert again[name].dtype == array.dtype
        np.testing.assert_array_equal(again[name], array, err_msg=name)


@pytest.mark.parametrize("network", ["base_patch16_global_pool", "base_patch16_cls_token", "large_patch16_global_pool"])
def test_every_fine_tuned_name_has_a_path_and_only_one(golden, network):
    names = [str(name) for name in golden("schedules")[f"groups/vit_{network}/names"]]
    paths = [our_path(name, CLASSIFIER) for name in names]
    assert len(set(paths)) == len(names)
    assert [official_name(path, CLASSIFIER) for path in paths] == names


def test_encoders_have_the_same_paths_in_all_tables_and_another_kind_is_refused():
    # A pretrained encoder is loaded by path.
    for path in ("encoder/cls_token", "encoder/patch_embed/bias", "encoder/block_11/mlp/fc2/kernel"):
        assert official_name(path, CLASSIFIER) == official_name(path)
        assert official_name(path, ANTISPOOF) == f"backbone.vit.{official_name(path)}"
    for name in ("head.weight", "pos_embed", "backbone.vit.fc_norm.bias"):
        with pytest.raises(ValueError, match=f"{name}: unknown; is this a pretraining checkpoint"):
            our_path(name)
    with pytest.raises(ValueError, match="mask_token: unknown; is this a fine-tuned checkpoint"):
        finetuned_from_official({"mask_token": np.zeros((1, 1, 48), np.float32)}, CLASSIFIER)
    with pytest.raises(ValueError, match="encoder/norm/bias: .* the anti-spoofing name table"):
        official_name("encoder/norm/bias", ANTISPOOF)


def test_the_bottleneck_may_be_named_once_and_must_not_differ(golden):
    official = reference.state_dict(golden("fas_tiny"), "fas_plain/state_before/")
    once = {name: array for name, array in official.items() if ".bottleneck_layer.0." not in name}
    tree = finetuned_from_official(once, ANTISPOOF)
    np.testing.assert_array_equal(tree["embedder"]["kernel"].T, official["embedder.bottleneck_layer.0.weight"])
    for state in (
        official | {"embedder.bottleneck_layer.0.bias": official["embedder.bottleneck_layer.0.bias"] + 1},
        {name: array for name, array in official.items() if "layer_fc" not in name},
    ):
        with pytest.raises(ValueError, match="bottleneck_layer.0.*: expected the same values as embedder.bottleneck"):
            finetuned_from_official(state, ANTISPOOF)
