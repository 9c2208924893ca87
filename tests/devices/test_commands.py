"""The commands on other devices write the CPU's tables, without a GPU."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from captum_ext.cli import main
from captum_ext.cli.inputs import models
from tests.cli.conftest import picture, quick_figures  # noqa: F401 - used by all tests here
from tests.devices.over_two import OverTwo
from tests.devices.pretended_device import PretendedDevice

FACTORY = """
from tests.devices.cases import network

def classifier():
    return network()
"""
COMMANDS = {
    "explain": "images/0.png --methods idgi-ig,rise --steps 2 --n-masks 4 --json table.json "
    "--overwrite",
    "evaluate": "images --methods idgi-ig --metrics insertion --steps 2 --out run --restart",
    "sanity": "images/0.png --methods saliency --similarity unsigned_spearman --stages model "
    "--json table.json --overwrite",
}
COSTS = {"seconds", "cost", "versions", "command"}


@contextmanager
def two_devices(told):
    """What commands do with two GPUs, on the CPU; every model call is divided."""
    made = []

    class Divided(OverTwo):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    def devices_of(names):
        return [torch.device("cpu")] * (1 + names.count(","))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "devices_of", devices_of)
        patch.setattr(models.nn, "DataParallel", Divided)
        yield
    told += made[0].asked


def numbers(found, path=()):
    """What a table holds by where it stands, without what a run costs."""
    if isinstance(found, dict):
        pairs = [(k, v) for k, v in found.items() if k not in COSTS]
    elif isinstance(found, list):
        pairs = list(enumerate(found))
    else:
        return {path: found}
    return {k: v for key, part in pairs for k, v in numbers(part, (*path, key)).items()}


def table(command, device):
    words = [command, *COMMANDS[command].split(), "--model", "mine.py:classifier"]
    assert main([*words, "--device", device]) == 0
    name = "run/results.json" if command == "evaluate" else "table.json"
    return numbers(json.loads(Path(name).read_text()))


# Both refuse what the other does, but MPS has no float64 either.
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_writes_the_cpus_table(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FACTORY)
    Path("images").mkdir()
    picture(0, 24).save("images/0.png")
    wanted = table(command, "cpu")
    told = {k: v for k, v in wanted.items() if isinstance(v, float)}
    assert len({*told.values()}) > 3
    # Correlations are of ranks, and pixels that all but tie may swap where sums are in float32.
    near = 1e-4 if command == "sanity" else 1e-6
    for device in ("mps", "cuda"):
        with PretendedDevice(device):
            found = table(command, device)
        assert {k: found[k] for k in told} == pytest.approx(told, rel=1e-4, abs=near)
        assert found.keys() == wanted.keys()
    if command != "explain":
        asked = []
        with two_devices(asked):
            found = table(command, "cuda:0,cuda:1")
        assert {k: found[k] for k in told} == pytest.approx(told, rel=1e-4, abs=1e-6)
        # A sanity check asks copies, which stay on the first, and the model of one image alone.
        assert [rows > 0 for rows in asked] == [True, command == "evaluate"]
