"""What users write, as a type checker reads it; mypy checks it with the package."""

from captum.attr import IntegratedGradients
from torch import Tensor, nn, rand
from typing_extensions import assert_type

from captum_ext.attr import IDGI, IGOS, RISE, GradCam, GuidedIG, MaskRun, PathAttribution, walk
from captum_ext.curve import Curve
from captum_ext.metrics import ROAD, SIC, Insertion, insertion, road, softmax_information_curve
from captum_ext.path import StraightLine


def right() -> None:
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
    assert_type(
        softmax_information_curve(model, images, maps, level="entropy", preset="xrai"), Curve
    )
    SIC(model, seed=1).plot()
