"""The commands on another device write the CPU's tables, without a GPU."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captum_ext.cli import main
from tests.devices.pretended_device import PretendedDevice

FACTORY = """
from tests.devices.cases import network

def classifier():
    return network()
"""
COMMANDS = {
    "explain": "images/0.png --methods idgi-ig,rise --steps 2 --n-masks 6 --json table.json",
    "evaluate": "images --methods idgi-ig --steps 2 --limit 1 --out run",
    "sanity": "images/0.png --methods saliency --similarity unsigned_spearman --json table.json",
}
COSTS = {"seconds", "cost", "versions", "command"}


def numbers(found, path=()):
    """What a table holds by where it stands, without what a run costs."""
    if isinstance(found, dict):
        pairs = [(k, v) for k, v in found.items() if k not in COSTS]
    elif isinstance(found, list):
        pairs = list(enumerate(found))
    else:
        return {path: found}
    return {k: v for key, part in pairs for k, v in numbers(part, (*path, key)).items()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    for k, picture in enumerate(pixels):
        Image.fromarray(picture).save(f"images/{k}.png")
    return tmp_path


def table(command, device):
    words = [command, *COMMANDS[command].split(), "--model", "mine.py:classifier"]
    assert main([*words, "--device", device]) == 0
    name = "run/results.json" if command == "evaluate" else "table.json"
    found = numbers(json.loads(Path(name).read_text()))
    if command == "evaluate":
        shutil.rmtree("run")
    return found


# MPS refuses what CUDA does, and float64.
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_writes_the_cpus_table(command, folder):
    wanted = table(command, "cpu")
    with PretendedDevice("mps"):
        found = table(command, "mps")
    told = {k: v for k, v in wanted.items() if isinstance(v, float)}
    assert len({*told.values()}) > 3
    # Correlations are of ranks, and pixels that all but tie may swap where sums are in float32.
    near = 1e-4 if command == "sanity" else 1e-6
    assert {k: found[k] for k in told} == pytest.approx(told, rel=1e-4, abs=near)
    assert found.keys() == wanted.keys()
