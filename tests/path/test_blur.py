import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from captum_ext.path import BlurPath, gaussian_blur


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 40), (7, 64, 33)])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.124, 0.126, 0.7, 5.0, 50.0])
def test_blur_equals_scipy(shape, sigma):
    image = np.random.default_rng(0).random(shape)
    theirs = np.stack([gaussian_filter(c, sigma, mode="constant", truncate=4) for c in image])
    ours = gaussian_blur(torch.from_numpy(image).float(), [sigma])[0]
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_blur_path_blurs_all_images_and_steps_of_a_block_as_one_by_one():
    images = torch.rand(2, 3, 9, 12)
    path = BlurPath(max_sigma=3.0)
    together = path.points(images, images, [0.0, 0.5, 1.0])
    apart = torch.stack([path.point(images, images, t) for t in (0.0, 0.5, 1.0)])
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(together[2], images)


@pytest.mark.parametrize("max_sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_blur_path_names_a_bad_sigma(max_sigma):
    with pytest.raises(ValueError, match=r"`max_sigma`.*but got"):
        BlurPath(max_sigma)
