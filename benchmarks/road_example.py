"""ROAD of two maps and of random numbers on photographs of scikit-image: a table for its page.

    python benchmarks/road_example.py

EfficientNet-Lite0, its own top class, 20 steps; the mean probability and its 95 % interval.
"""

import torch
from captum.attr import InputXGradient, IntegratedGradients
from PIL import Image
from skimage import data
from torch import Tensor

from captum_ext import ImageClassifier
from captum_ext.metrics import ROAD

PICTURES = (
    "astronaut",
    "cat",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
)
ORDERS = ("morf", "lerf")


def main() -> None:
    model = ImageClassifier.from_efficientnet_lite0()
    photographs = [model.transform(Image.fromarray(getattr(data, name)())) for name in PICTURES]
    random = torch.Generator().manual_seed(0)

    def integrated(image: Tensor, target: Tensor) -> Tensor:
        return IntegratedGradients(model).attribute(image, target=target, n_steps=20)

    makes = {
        "Integrated Gradients, 20 steps": integrated,
        "input x gradient": lambda x, t: InputXGradient(model).attribute(x, target=t),
        "random": lambda x, _: torch.rand(x.shape, generator=random),
    }
    print("| Map | `morf`, lower is better | `lerf`, higher is better |\n|---|---|---|")
    for name, make in makes.items():
        cells = []
        metrics = [ROAD(model, order, "probability", reduction="abs_sum") for order in ORDERS]
        for image in photographs:
            target = model(image[None]).argmax(1)
            credit = make(image[None], target)
            for metric in metrics:
                metric.update(image[None], credit, target=target)
        for metric in metrics:
            low, high = metric.interval()
            cells.append(f"{metric.compute():.3f} ({low:.3f} to {high:.3f})".replace("0.", "."))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
