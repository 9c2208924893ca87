"""Weights come from files of two formats, or a sentence says why they do not."""

import sys

import pytest
import torch
from torch import nn

from captum_ext._weights import load_weights, misfit, read_state
from tests.conftest import PICKLES


@PICKLES
def test_a_checkpoint_may_hold_the_state_dict(tmp_path):
    net = nn.Linear(2, 1)
    torch.save({"epoch": 3, "state_dict": net.state_dict()}, tmp_path / "a.ckpt")
    other = nn.Linear(2, 1)
    load_weights(other, tmp_path / "a.ckpt")
    assert torch.equal(other.weight, net.weight)


@PICKLES
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (3, "holds a int: save"),
        ({"epoch": 3}, "holds a dict of 1 entry without tensors"),
        (nn.Linear(1, 1), "is damaged, or holds more than tensors"),
        ({"weight": torch.ones(1, 2)}, "does not: it lacks bias"),
        ({"weight": torch.ones(1, 2), "bias": torch.ones(3)}, r"bias is .3,. instead of .1,."),
    ],
)
def test_what_is_no_fitting_state_dict_gets_one_clear_sentence(content, words, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=f"^`weights`.*a.pth.*{words}") as raised:
        load_weights(nn.Linear(2, 1), tmp_path / "a.pth")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04" + b"\0" * 99])
def test_a_damaged_file_gets_one_clear_sentence(content, name, tmp_path):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^`weights`.*{name}.*: .+"):
        read_state(tmp_path / name)


def test_at_most_three_tensors_are_named():
    net = nn.Sequential(*[nn.Linear(2, 2) for _ in range(5)])
    assert misfit(net, {}) == "it lacks 0.weight; it lacks 0.bias; it lacks 1.weight; and 7 more"
    assert misfit(net, net.state_dict()) == ""


def test_safetensors_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    net, other = nn.Linear(2, 1), nn.Linear(2, 1)
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    load_weights(other, tmp_path / "a.safetensors")
    assert torch.equal(other.weight, net.weight)


def test_without_safetensors_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(ImportError, match="pip install safetensors"):
        read_state(tmp_path / "a.safetensors")


@pytest.mark.parametrize("release", ["2.5.1", "2.9.1+cu128"])
def test_releases_that_read_pickles_unsafely_are_refused(release, tmp_path, monkeypatch):
    torch.save(nn.Linear(2, 1).state_dict(), tmp_path / "a.pth")
    monkeypatch.setattr(torch, "__version__", release)
    with pytest.raises(ValueError, match=r"CVE-2026-24747.*2\.10 or later.*safetensors"):
        read_state(tmp_path / "a.pth")
    assert read_state(tmp_path / "a.pth", trusted=True)
