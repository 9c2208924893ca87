"""What users write wrongly: mypy finds an error in every line that ignores one, and no other."""

from captum.attr import IntegratedGradients
from torch import nn, rand

from captum_ext.attr import IDGI, IGOS, RISE, GradCam, GuidedIG, walk
from captum_ext.metrics import ROAD, SIC, Insertion, accuracy_information_curve, deletion, road


def wrong() -> None:
    model = nn.Linear(2, 2)
    images = rand(1, 3, 8, 8)
    GuidedIG(model, fractoin=0.5)  # type: ignore
    GuidedIG(model).attribute(images, n_step=5)  # type: ignore
    GuidedIG(model).attribute([images])  # type: ignore
    IDGI(IntegratedGradients(model)).attribute(images, target="cat")  # type: ignore
    IDGI(IntegratedGradients(model), steps=3)  # type: ignore
    IGOS(model, mask_size=28.5)  # type: ignore
    IGOS(model).attribute(images, n_iters=3)  # type: ignore
    print(IGOS(model).optimize(images).maps)  # type: ignore
    RISE(model).attribute(images, masks=500)  # type: ignore
    walk([GuidedIG(model)], images, steps=3)  # type: ignore
    GradCam(model).attribute(images, baselines=0)  # type: ignore
    GuidedIG(model).attribute(images, return_convergence_delta=True).sum()  # type: ignore
    GuidedIG(model).attribute((images,)).sum()  # type: ignore
    Insertion(model, steps=5)  # type: ignore
    Insertion(model).update(images, images, targets=1)  # type: ignore
    Insertion.from_preset(model, "idgi", steps=5)  # type: ignore
    deletion(model, images, images, steps=5)  # type: ignore
    deletion(model, images, images, n_steps="5")  # type: ignore
    road(model, images, images, percentage=[50])  # type: ignore
    ROAD(model, orders="lerf")  # type: ignore
    accuracy_information_curve(model, images, images, levels="entropy")  # type: ignore
    SIC(model, sync_on_compte=False)  # type: ignore
