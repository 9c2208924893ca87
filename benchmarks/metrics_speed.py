"""Speed of the metrics beside the peers a user would pick instead, as ratios in one run.

    python benchmarks/metrics_speed.py IMAGE [--pair]

``--pair`` needs ``pip install --no-deps saliency`` (PAIR), which is shimmed here for NumPy 2.4.
Times are CPU seconds of one thread, the least of several runs.
"""

import argparse
import dataclasses
import importlib.util
import time
from pathlib import Path

import numpy as np
import pytorch_msssim
import torch
from captum.attr import InputXGradient
from PIL import Image
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from captum_ext import ImageClassifier
from captum_ext.curve import WEBP, WEBP_FULL, ms_ssim
from captum_ext.curve.ranking import rank
from captum_ext.metrics import INFORMATION_PRESETS, SIC, deletion, information_metrics, insertion


def seconds(work, repeat=3):
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def similarity(model, image):
    frames = image + torch.linspace(0, 0.5, 26).view(-1, 1, 1, 1) * torch.randn(26, 3, 224, 224)
    frames, same = frames.clamp(0, 1), image.expand(26, -1, -1, -1).contiguous()
    peer = multiscale_structural_similarity_index_measure
    ours = seconds(lambda: ms_ssim(frames, image))
    print(f"MS-SSIM of 26 frames: {ours * 1e3:.0f} ms")
    theirs = seconds(lambda: peer(frames, same, data_range=1.0, reduction="none"), 1)
    print(f"  torchmetrics takes {theirs / ours:.1f} times as long")
    theirs = seconds(lambda: pytorch_msssim.ms_ssim(frames, same, 1.0, size_average=False))
    print(f"  pytorch_msssim takes {theirs / ours:.1f} times as long")
    with torch.no_grad():
        forward = seconds(lambda: model(frames), 2)
    print(f"  the model's forward pass takes {forward / ours:.1f} times as long")


def perturbation(model, image, credit, target):
    frames = torch.cat([image] * 16)

    def bare():
        with torch.no_grad():
            for part in torch.cat([frames] * 3)[:42].split(16):
                model(part)

    def ours():
        insertion(model, image, credit, target=target)
        deletion(model, image, credit, target=target)

    both, alone = [], []
    for _ in range(4):  # in turn, as the machine's load drifts
        both.append(seconds(ours, 1))
        alone.append(seconds(bare, 1))
    print(f"insertion and deletion: {min(both) / min(alone):.3f} times the bare model, 42 frames")


def information(image, credit, pair):
    """AIC and SIC of the preset xrai with a model that costs nothing."""

    def free(x):
        answer = 0.1 + 0.8 * (x.mean((1, 2, 3)) - x.mean((1, 2, 3)) + 1)
        return torch.stack([answer, 1 - answer], 1)

    for name, codec in (("effort 0", WEBP), ("full effort", WEBP_FULL)):
        how = dataclasses.replace(INFORMATION_PRESETS["xrai"], codec=codec)
        metrics = information_metrics(free, levels=("entropy",), preset=how)
        taken = seconds(lambda metrics=metrics: metrics.update(image, credit, target=0), 2)
        print(f"AIC and SIC, xrai, WebP {name}: {taken:.2f} s without the model")
        if pair:
            theirs = seconds(lambda: pair_area(pair, image, credit, lambda a: a.mean() / 255), 1)
            print(f"  PAIR takes {theirs / taken:.1f} times as long for one, twice for both")


def load_pair():
    np.trapz = np.trapezoid  # noqa: NPY201
    root = Path(importlib.util.find_spec("saliency").origin).parent
    spec = importlib.util.spec_from_file_location("pic", root / "metrics" / "pic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pair_area(pair, image, credit, score):
    how = INFORMATION_PRESETS["xrai"]
    array = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    known = how.base.known(*array.shape[:2])
    scores = {array.tobytes(): 0.95}
    result = pair.compute_pic_metric(
        array,
        credit[0].abs().sum(0).double().numpy(),
        known,
        lambda a: [scores.get(a[0].tobytes(), 0.0) or score(a[0])],
        list(how.fractions[1:-1]),
        min_pred_value=0.1,
    )
    return result.auc


def agreement(model, image, credit, target, pair):
    """The area of one image by both, with the model's own scores."""

    def score(a):
        with torch.no_grad():
            x = torch.from_numpy(a.copy()).permute(2, 0, 1)[None].float() / 255
            return float(model(x)[0, target])

    how = INFORMATION_PRESETS["xrai"]
    array = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    result = pair.compute_pic_metric(
        array,
        credit[0].abs().sum(0).double().numpy(),
        how.base.known(*array.shape[:2]),
        lambda a: [score(a[0])],
        list(how.fractions[1:-1]),
        min_pred_value=0.1,
    )
    for name, codec in (("effort 0", WEBP), ("full effort", WEBP_FULL)):
        metric = SIC.from_preset(model, "xrai", level="entropy", codec=codec, min_score=0.1)
        metric.update(image, credit, target=target)
        area = float(metric.per_example[0])
        print(f"SIC, WebP {name}: {area:.4f}, PAIR {result.auc:.4f}, {area - result.auc:+.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("--pair", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ImageClassifier.from_efficientnet_lite0()
    image = model.transform(Image.open(options.image).convert("RGB"))[None]
    with torch.no_grad():
        target = int(model(image).argmax())
    credit = InputXGradient(model).attribute(image.clone(), target=target).detach()
    start = time.process_time()
    rank((credit,))
    print(f"ranking: {(time.process_time() - start) * 1e3:.0f} ms")
    similarity(model, image)
    perturbation(model, image, credit, target)
    pair = load_pair() if options.pair else None
    information(image, credit, pair)
    if pair:
        agreement(model, image, credit, target, pair)


if __name__ == "__main__":
    main()
