"""Agreement with the published implementations, on their own outputs."""

import pytest
import torch
from captum.attr import IntegratedGradients

from captum_ext.attr import IDGI, BlurIG, GuidedIG
from captum_ext.path import GuidedPath, gaussian_blur
from captum_ext.score import Score
from tests import golden

SETTINGS = {
    "A_prob": (50, 0.25, 0.02),
    "B_logit": (25, 0.5, 1.0),
    "C_prob": (50, 0.25, 0.0),
    "D_logit": (50, 0.1, 0.2),
}
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}


@pytest.fixture(scope="module")
def arrays():
    return golden.load("paths")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("setting", SETTINGS)
def test_guided_ig_equals_pair(setting, dtype, arrays):
    n_steps, fraction, max_dist = SETTINGS[setting]
    model = golden.reading(arrays, setting.split("_")[1], dtype)
    credit = GuidedIG(model, fraction, max_dist).attribute(
        arrays["image"].to(dtype), baselines=-1.0, target=arrays["label"].long(), n_steps=n_steps
    )
    assert golden.relative_error(credit, arrays[f"guided_{setting}"]) < TOLERANCE[dtype]


def test_guided_path_walks_as_pair_does(arrays):
    model = golden.reading(arrays, "prob", torch.float64)
    image = arrays["image"][:1].double()
    score = Score(model, (image,), target=int(arrays["label"][0]))
    knots = list(GuidedPath().knots(score, (torch.full_like(image, -1),), (image,), 50))
    steps = arrays["guided_path_steps"].tolist()
    points = torch.cat([knots[j].point[0] for j in steps])
    torch.testing.assert_close(points, arrays["guided_path"].double(), atol=1e-6, rtol=1e-5)


def test_guided_ig_gives_exactly_0_to_features_equal_to_their_baseline(arrays):
    credit = GuidedIG(golden.reading(arrays, "prob", torch.float64)).attribute(
        arrays["image_equal_region"].double(), -1.0, arrays["label"].long(), n_steps=50
    )
    assert golden.relative_error(credit, arrays["guided_equal_region"]) < 1e-5
    assert (credit[:, :, 8:16, 8:20] == 0).all()


@pytest.mark.parametrize("kind", ["prob", "logit"])
def test_blur_ig_is_near_pair_at_50_steps(kind, arrays):
    model = golden.reading(arrays, kind, torch.float64)
    credit = BlurIG(model, max_sigma=20).attribute(
        arrays["blur_image"].double(), target=arrays["blur_label"].long(), n_steps=50
    )
    theirs = arrays[f"blur_{kind}"].double()
    assert (credit - theirs).norm() / theirs.norm() < 0.10


def finite_difference_blur_ig(model, images, target, n_steps, max_sigma=20.0, width=0.01):
    """PAIR's sum: gradient times the blur's velocity, from sharp to blurred."""
    total = torch.zeros_like(images)
    for j in range(n_steps):
        sigma = j * max_sigma / n_steps
        sharper, softer = gaussian_blur(images, [sigma, sigma + width])
        leaf = sharper.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)
        total -= max_sigma / n_steps * (softer - sharper) / width * gradient
    return total


@pytest.mark.parametrize("kind", ["prob", "logit"])
def test_pair_sum_over_our_blur_equals_pair(kind, arrays):
    model = golden.reading(arrays, kind, torch.float64)
    ours = finite_difference_blur_ig(
        model, arrays["blur_image"].double(), arrays["blur_label"].long(), 50
    )
    assert golden.relative_error(ours, arrays[f"blur_{kind}"]) < 1e-3


def test_the_two_discretizations_of_blur_ig_converge(arrays):
    model = golden.reading(arrays, "prob", torch.float64)
    images, target = arrays["blur_image"].double(), arrays["blur_label"].long()
    theirs = finite_difference_blur_ig(model, images, target, 400)
    ours = BlurIG(model, max_sigma=20).attribute(images, target=target, n_steps=400)
    error = (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1)
    assert error.max() < 0.02


def test_blur_equals_the_published_blur(arrays):
    ours = gaussian_blur(arrays["image"][0], arrays["blur_sigmas"].tolist())
    torch.testing.assert_close(ours, arrays["blurred_image"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("over", "name"),
    [
        (IntegratedGradients, "idgi_ig"),
        (GuidedIG, "idgi_guided"),
        (lambda model: BlurIG(model, max_sigma=20), "idgi_blur"),
    ],
)
def test_idgi_equals_the_authors_code(over, name, arrays):
    method = IDGI(over(golden.reading(arrays, "prob", torch.float64)))
    baselines = None if name == "idgi_blur" else -1.0
    credit = method.attribute(
        arrays["image"].double(), baselines, arrays["label"].long(), n_steps=32
    )
    assert golden.relative_error(credit, arrays[name]) < 1e-5
