"""The parameter randomization cascade on a pretrained network, as table and picture.

    python benchmarks/sanity_cascade.py IMAGE [IMAGE ...] --out cascade.png

EfficientNet-Lite0, some blocks from the output to the input; then a ReLU network with random
weights, whose activations Captum can hook, where guided backpropagation stays similar.
"""

import argparse
from pathlib import Path

import torch
from captum.attr import (
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from PIL import Image
from torch import nn
from torchvision.models import resnet18

from captum_ext import ImageClassifier
from captum_ext.attr import IDGI, Configured, GradCam, IGOSPlusPlus, PathAttribution
from captum_ext.metrics import ParameterRandomization, impostors, plot_cascade
from captum_ext.path import EqualRise, StraightLine


def methods():
    return {
        "gradient": Saliency,
        "input x gradient": InputXGradient,
        # A few equal steps flatter IDGI: its map is then that of the one step with the rise.
        "IG": lambda m: PathAttribution(m, StraightLine(), placement=EqualRise()),
        "IDGI": lambda m: IDGI(IntegratedGradients(m), placement=EqualRise()),
        "SmoothGrad": lambda m: Configured(
            NoiseTunnel(Saliency(m)), nt_samples=6, stdevs=0.1, nt_samples_batch_size=3
        ),
        "Grad-CAM": lambda m: GradCam(m, m.model._conv_head),
        "iGOS++": IGOSPlusPlus,
        "image edges": impostors()["image edges"],
    }


def run(model, images, methods, **settings):
    with torch.no_grad():
        target = model(images).argmax(1)
    checks = {}
    for name, make in methods.items():
        torch.manual_seed(0)
        checks[name] = ParameterRandomization(make, **settings)
        checks[name].update(model, images, target=target)
        final = {k: round(float(v[-1]), 3) for k, v in checks[name].by_stage().items()}
        mean = {k: round(float(v), 3) for k, v in checks[name].compute().items()}
        print(f"{name:<18} last stage {final}  mean {mean}", flush=True)
    return checks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = ImageClassifier.from_efficientnet_lite0()
    images = torch.stack(
        [model.transform(Image.open(path).convert("RGB")) for path in options.images]
    )
    print("EfficientNet-Lite0, pretrained")
    checks = run(model, images, methods(), stages="block")
    plot_cascade(checks, images[0]).savefig(options.out, dpi=110)
    figure, _ = checks["gradient"].plot()
    figure.savefig(options.out.with_stem(options.out.stem + "_stages"), dpi=110)
    print("ResNet-18, random")
    torch.manual_seed(0)
    network = resnet18(weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    run(
        network,
        images,
        {"gradient": Saliency, "guided backprop": GuidedBackprop},
        stages="block",
    )


if __name__ == "__main__":
    main()
