"""MS-SSIM: TensorFlow's numbers, an oracle, and the definition in loops."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_msssim import ms_ssim as oracle
from skimage import data

from captum_ext.curve import ms_ssim
from captum_ext.curve.ms_ssim import MultiScaleSimilarity

GOLDEN = Path(__file__).parents[1] / "goldens" / "msssim.npz"


def photograph():
    return torch.from_numpy(data.coffee()[40:264, 60:284].copy()).permute(2, 0, 1)[None] / 255


def test_equals_tensorflow_on_partly_blurred_images():
    golden = np.load(GOLDEN)
    image, base = (
        torch.from_numpy(np.array(Image.open(io.BytesIO(golden[f"{name}_png"].tobytes()))))
        .permute(2, 0, 1)[None]
        .float()
        for name in ("image", "base")
    )
    shown = np.unpackbits(golden["masks"]).reshape(3, 1, 224, 224)
    frames = torch.where(torch.from_numpy(shown).bool(), image, base)
    for scale in (1.0, 255.0):
        made = ms_ssim(frames / scale, image / scale, data_range=255 / scale)
        np.testing.assert_allclose(made, golden["tensorflow_msssim"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["random", "photograph"])
def test_equals_the_oracle(kind, dtype):
    image = torch.rand(1, 3, 192, 224) if kind == "random" else photograph()
    image = image.to(dtype)
    noise = torch.randn(5, *image.shape[1:], dtype=dtype)
    frames = (image + torch.linspace(0, 0.5, 5, dtype=dtype).view(5, 1, 1, 1) * noise).clamp(0, 1)
    expected = oracle(frames, image.expand_as(frames).contiguous(), 1.0, size_average=False)
    torch.testing.assert_close(ms_ssim(frames, image), expected, rtol=0, atol=1e-5)


def in_loops(x, y, weights):
    """Window by window in numpy, one channel, float64."""
    taps = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    result = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            x, y = (np.pad(a, [(0, s % 2) for s in a.shape], mode="edge") for a in (x, y))
            x, y = (a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2).mean((1, 3)) for a in (x, y))
        terms = []
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                cov = (window * (a - ma) * (b - mb)).sum()
                term = (2 * cov + 0.03**2) / (va + vb + 0.03**2)
                if scale == len(weights) - 1:
                    term *= (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)
                terms.append(term)
        result *= max(np.mean(terms), 0) ** weight
    return result


@pytest.mark.parametrize(
    ("size", "weights"),
    [((16, 12), [1.0]), ((21, 25), [0.0448, 0.2856]), ((41, 41), [0.0448, 0.2856, 0.3001])],
)
def test_small_and_odd_images_use_fewer_scales_with_weights_of_the_same_sum(size, weights):
    y = torch.rand(1, 1, *size, dtype=torch.float64)
    x = (y + 0.2 * torch.rand_like(y)).clamp(0, 1)
    weights = [w * 1.0001 / sum(weights) for w in weights]
    expected = in_loops(x[0, 0].numpy(), y[0, 0].numpy(), weights)
    assert float(ms_ssim(x, y)) == pytest.approx(expected, abs=1e-9)


def test_equal_images_are_1_unrelated_ones_near_0_and_none_is_below_0():
    image = torch.rand(1, 3, 64, 64)
    frames = torch.cat([image, torch.rand_like(image), 1 - image])
    same, unrelated, inverse = ms_ssim(frames, image).tolist()
    assert same == pytest.approx(1, abs=1e-6)
    assert 0 <= unrelated < 0.3
    assert inverse == 0


def test_each_frame_is_compared_with_its_own_original():
    originals = torch.rand(3, 3, 32, 32)
    frames = originals[[2, 0, 0, 1]] * 0.9
    rows = torch.tensor([2, 0, 0, 1])
    together = MultiScaleSimilarity(originals)(frames, rows)
    for i, row in enumerate(rows):
        alone = ms_ssim(frames[i : i + 1], originals[row : row + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(ms_ssim(frames, originals[rows]), together)


def test_half_precision_images_are_compared_in_single_precision():
    image = torch.rand(1, 3, 32, 32).bfloat16()
    frames = (image * 0.5).bfloat16()
    made = ms_ssim(frames, image)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, ms_ssim(frames.float(), image.float()))


def test_bad_arguments_are_named():
    image = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"at least 11 pixels.*got \(1, 3, 32, 8\)"):
        ms_ssim(image[..., :8], image[..., :8])
    with pytest.raises(ValueError, match=r"`reference`.*\(1, 3, 32, 32\).*got \(1, 1, 32, 32\)"):
        ms_ssim(image, image[:, :1])
    with pytest.raises(ValueError, match=r"`data_range`.*got 0"):
        ms_ssim(image, image, data_range=0)


@pytest.mark.parametrize("level", [0.6, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("noise", [0.0, 1e-7, 0.1, 3.0])
@pytest.mark.parametrize("texture", [0.0, 1.0])
def test_single_precision_equals_double_and_never_exceeds_1(level, noise, texture):
    generator = torch.Generator().manual_seed(0)
    image = level + texture * torch.rand(2, 1, 176, 176, generator=generator)
    frames = image + noise * torch.randn(image.shape, generator=generator)
    made, exact = ms_ssim(frames, image), ms_ssim(frames.double(), image.double())
    assert made.max() <= 1
    torch.testing.assert_close(made.double(), exact, rtol=0, atol=2e-5)


def test_images_far_apart_are_compared_exactly():
    image = torch.rand(1, 3, 48, 48)
    high, low = image + 5e4, image + 1e4
    exact = ms_ssim(high.double(), low.double())
    torch.testing.assert_close(ms_ssim(high, low).double(), exact, rtol=0, atol=1e-4)
