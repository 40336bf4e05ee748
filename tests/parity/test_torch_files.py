"""What we write for PyTorch, read by PyTorch, timm and transformers: the golden networks give their golden numbers.

Run by `make test-parity`, since these packages are not among those of `make test`.
"""

import json
from pathlib import Path

import numpy as np
import official_weights
import pytest
import reference

WHY = "timm, torch and transformers are needed; run `make test-parity`"
torch = pytest.importorskip("torch", reason=WHY)
timm = pytest.importorskip("timm", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)

from fsfm_jax.export import from_torch, to_torch  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"
PAIR = [str(GOLDEN / "checkpoint-599.pth"), str(GOLDEN / "checkpoint-te-599.pth")]
TOLERANCE = 1e-5  # two blocks in float32 in another order of summation


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official")
    from_torch.convert(PAIR, str(folder / "run"), "vggface2", pixel_heads=4, rep_heads=4)
    return to_torch.convert(str(folder / "run"), "official", str(folder / "files"))


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("number", [0, 1])
def test_pytorch_reads_official_files_as_it_reads_the_originals(official, number, weights_only):
    found = torch.load(official[number], weights_only=weights_only)
    wanted = torch.load(PAIR[number], weights_only=False)  # ours, and recorded here
    assert list(found) == list(wanted) == ["model", "optimizer", "epoch", "scaler", "args"]
    assert list(found["model"]) == list(wanted["model"]) and found["epoch"] == wanted["epoch"]
    assert all(torch.equal(found["model"][name], tensor) for name, tensor in wanted["model"].items())
    # A Namespace there, something that reads like one here.
    assert vars(found["args"]) == {**vars(wanted["args"]), "output_dir": "."}
    assert found["args"].mask_ratio == found["args"]["mask_ratio"] == 0.75


def test_pytorchs_optimizer_goes_on_as_from_the_original(official):
    def stepped(content):
        groups = content["optimizer"]["param_groups"]
        names = [name for name in content["model"] if not name.endswith("pos_embed")]
        plain = [n for n in names if content["model"][n].ndim <= 1 or n.endswith(".bias")]
        order = [plain, [n for n in names if n not in plain]]
        parameters = [[torch.nn.Parameter(content["model"][n].clone()) for n in part] for part in order]
        optimizer = torch.optim.AdamW([{"params": part} for part in parameters], lr=1e-3, betas=(0.9, 0.95))
        optimizer.load_state_dict(content["optimizer"])
        assert [group["weight_decay"] for group in optimizer.param_groups] == [g["weight_decay"] for g in groups]
        for part in parameters:
            for parameter in part:
                parameter.grad = torch.full_like(parameter, 0.01)
        optimizer.step()
        return [parameter.detach() for part in parameters for parameter in part]

    ours, theirs = stepped(torch.load(official[0])), stepped(torch.load(PAIR[0], weights_only=False))
    assert len(ours) == 102 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.fixture(params=["plain_gp", "plain_cls"])
def detector(request, tmp_path, golden):
    """A golden classifier as a detector: its directory, its inputs and outputs."""
    arrays = golden("finetune_tiny")
    state = reference.state_dict(arrays, f"{request.param}/state/")
    official_weights.write(tmp_path / "checkpoint-min_val_loss.pth", state)
    from_torch.convert([str(tmp_path / "checkpoint-min_val_loss.pth")], str(tmp_path / "run"), "vggface2")
    images = torch.from_numpy(arrays["in/images"])
    return str(tmp_path / "run"), images, arrays[f"{request.param}/logits"]


@pytest.mark.parametrize("format", ["timm", "safetensors"])
def test_timm_gives_the_golden_outputs(detector, tmp_path, format):
    run, images, logits = detector
    path, card = to_torch.convert(run, format, str(tmp_path / "out"))
    call = json.loads(Path(card).read_text())["timm"]
    network = timm.create_model(**call).eval()
    if format == "timm":
        network.load_state_dict(torch.load(path), strict=True)
    else:
        from safetensors.torch import load_file

        network.load_state_dict(load_file(path), strict=True)
    with torch.no_grad():
        np.testing.assert_allclose(network(images).numpy(), logits, rtol=0, atol=TOLERANCE)


def test_transformers_gives_the_golden_outputs(detector, tmp_path):
    run, images, logits = detector
    folder = Path(to_torch.convert(run, "huggingface", str(tmp_path / "out"))[0]).parent
    network, info = transformers.AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    with torch.no_grad():
        np.testing.assert_allclose(network.eval()(images).logits.numpy(), logits, rtol=0, atol=TOLERANCE)
    assert network.config.id2label == {0: "fake", 1: "real"}
