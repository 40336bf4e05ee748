"""The table between our parameter paths and the official names, in both directions."""

import numpy as np
import pytest
import reference

from fsfm_jax.export.names import from_official, official_name, our_path, to_official


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


def test_a_convolution_becomes_the_product_over_row_column_channel():
    weight = np.arange(2 * 3 * 8 * 8, dtype=np.float32).reshape(2, 3, 8, 8)  # [out, channel, row, column]
    kernel = from_official({"patch_embed.proj.weight": weight}, reference.model_spec())["encoder"]["patch_embed"][
        "kernel"
    ]
    assert kernel.shape == (192, 2)
    row, column, channel = 5, 2, 1
    assert kernel[(row * 8 + column) * 3 + channel, 1] == weight[1, channel, row, column]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="blocks.0.attn.relative_position: unknown"):
        our_path("blocks.0.attn.relative_position")
    with pytest.raises(ValueError, match="encoder/adapter/kernel: no official name"):
        official_name("encoder/adapter/kernel")


def test_other_positions_than_configured_are_refused(golden):
    official = reference.state_dict(golden("pretrain_tiny"), "online/")
    with pytest.raises(ValueError, match="rep_decoder_pos_embed.*model.rep_positions"):
        from_official(official, reference.model_spec(rep_positions="sincos"))
