"""What an editor and a type checker learn of the public API, in scripts as users write them."""

import json
import re
import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

from captum_ext.metrics import AIC, ROAD, Insertion
from captum_ext.metrics.information import aic_sic
from captum_ext.metrics.perturbation import perturb, road

ROOT = Path(__file__).parents[1]
RIGHT = """
from captum.attr import IntegratedGradients
from torch import Tensor, nn, rand
from typing_extensions import assert_type

from captum_ext.attr import IDGI, IGOS, RISE, GradCam, GuidedIG, MaskRun, PathAttribution, walk
from captum_ext.curve import Curve
from captum_ext.metrics import ROAD, SIC, Insertion, insertion, road, softmax_information_curve
from captum_ext.path import StraightLine

model = nn.Linear(2, 2)
images, several, either = rand(1, 3, 8, 8), (rand(1, 2), rand(1, 3)), rand(1) or (rand(1),)
asked = bool(images.any())

assert_type(GuidedIG(model).attribute(images, target=1, n_steps=5), Tensor)
assert_type(PathAttribution(model, StraightLine()).attribute(several), tuple[Tensor, ...])
assert_type(IDGI(IntegratedGradients(model)).attribute(either), Tensor | tuple[Tensor, ...])
maps, delta = GuidedIG(model).attribute(images, return_convergence_delta=True)
assert_type(maps, Tensor)
assert_type(delta, Tensor)
assert_type(
    GuidedIG(model).attribute(several, return_convergence_delta=True),
    tuple[tuple[Tensor, ...], Tensor],
)
one = GuidedIG(model).attribute(images, return_convergence_delta=asked)
assert_type(one, Tensor | tuple[Tensor, ...] | tuple[Tensor | tuple[Tensor, ...], Tensor])
assert_type(walk([GuidedIG(model)], images), list[Tensor])
assert_type(
    walk([GuidedIG(model)], images, return_convergence_delta=True), list[tuple[Tensor, Tensor]]
)
assert_type(RISE(model).attribute(images), Tensor)
assert_type(RISE(model).attribute(images, return_standard_error=True), tuple[Tensor, Tensor])
assert_type(GradCam(model).attribute(images, 1), Tensor)
assert_type(IGOS(model).attribute(several, n_iter=3), tuple[Tensor, ...])
assert_type(IGOS(model).optimize(images), MaskRun[Tensor])
assert_type(IGOS(model).optimize(several).attributions, tuple[Tensor, ...])

metric = Insertion(model, n_steps=5, sync_on_compute=False)
metric.update(images, maps, target=1)
assert_type(metric.compute(), Tensor)
assert_type(metric.curve(), Curve)
Insertion.from_preset(model, "idgi", seed=1).update(several, several)
ROAD(model, order="lerf").update(images, maps, 1)
assert_type(insertion(model, images, maps, target=1, n_steps=5, base=0.5), Tensor)
assert_type(road(model, images, maps, 1, percentages=[50]), Tensor)
assert_type(softmax_information_curve(model, images, maps, level="entropy", preset="xrai"), Curve)
SIC(model, seed=1).plot()
"""
# Every line that ends in "wrong" is an error, and no other is.
WRONG = """
from captum.attr import IntegratedGradients
from torch import Tensor, nn, rand

from captum_ext.attr import IDGI, IGOS, RISE, GradCam, GuidedIG, walk
from captum_ext.metrics import ROAD, SIC, Insertion, accuracy_information_curve, deletion, road

model = nn.Linear(2, 2)
images = rand(1, 3, 8, 8)
GuidedIG(model, fractoin=0.5)  # wrong
GuidedIG(model).attribute(images, n_step=5)  # wrong
GuidedIG(model).attribute([images])  # wrong
IDGI(IntegratedGradients(model)).attribute(images, target="cat")  # wrong
IDGI(IntegratedGradients(model), steps=3)  # wrong
IGOS(model, mask_size=28.5)  # wrong
IGOS(model).attribute(images, n_iters=3)  # wrong
IGOS(model).optimize(images).maps  # wrong
RISE(model).attribute(images, masks=500)  # wrong
walk([GuidedIG(model)], images, steps=3)  # wrong
GradCam(model).attribute(images, baselines=0)  # wrong
GuidedIG(model).attribute(images, return_convergence_delta=True).sum()  # wrong
GuidedIG(model).attribute((images,)).sum()  # wrong
Insertion(model, steps=5)  # wrong
Insertion(model).update(images, images, targets=1)  # wrong
Insertion.from_preset(model, "idgi", steps=5)  # wrong
deletion(model, images, images, steps=5)  # wrong
deletion(model, images, images, n_steps="5")  # wrong
road(model, images, images, percentage=[50])  # wrong
ROAD(model, orders="lerf")  # wrong
accuracy_information_curve(model, images, images, levels="entropy")  # wrong
SIC(model, sync_on_compte=False)  # wrong
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for name, text in (("right", RIGHT), ("wrong", WRONG)):
        (folder / f"{name}.py").write_text(text)
    return [folder / "right.py", folder / "wrong.py"]


def _require_marked(found):
    """Errors, as (script, line), stand on the lines that are marked, and nowhere else."""
    lines = WRONG.splitlines()
    marked = {("wrong.py", k) for k, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert found == marked


def test_mypy_finds_what_is_wrong_in_a_script_and_nothing_else(scripts):
    pytest.importorskip("mypy")
    # With the project's own settings, so that what an earlier run found is not found again.
    ran = _run([sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", *scripts])
    errors = re.findall(r"^.*?([^/\\\\]+\.py):(\d+): error", ran, re.MULTILINE)
    _require_marked({(name, int(line)) for name, line in errors})


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_finds_what_is_wrong_in_a_script_and_nothing_else(scripts):
    ran = _run(["pyright", "--outputjson", "--pythonpath", sys.executable, *scripts])
    found = json.loads(ran)["generalDiagnostics"]
    _require_marked({(Path(e["file"]).name, e["range"]["start"]["line"] + 1) for e in found})


def _run(command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("settings", "of", "but"),
    [
        (perturb.Settings, Insertion, ()),
        (road._Settings, ROAD, ()),
        (aic_sic.Settings, AIC, ("level", "measured")),
    ],
)
def test_functions_take_every_setting_of_their_class(settings, of, but):
    """`but` for those that the function names itself, or has no use for."""
    named = set(signature(of).parameters) - {"forward_func", "kwargs", *but}
    assert set(settings.__annotations__) == named


def test_the_types_are_shipped():
    assert (ROOT / "captum_ext" / "py.typed").is_file()
