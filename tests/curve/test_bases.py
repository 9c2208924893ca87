"""Bokeh images, codecs and the reading of answers."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.interpolate import griddata

from captum_ext.curve import PNG, WEBP, Blurred, Interpolated, rank
from captum_ext.curve.bases import InterpolatedFrames
from captum_ext.curve.codec import CompressedSize, from_bytes, to_bytes
from captum_ext.curve.lattice import _METRIC, interpolate
from captum_ext.curve.response import probability_and_correctness
from captum_ext.metrics import AIC, INFORMATION_PRESETS, SIC, Deletion, Insertion
from captum_ext.score import Score

GOLDEN = Path(__file__).parents[1] / "goldens" / "pic.npz"


@pytest.fixture
def image():
    return torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(5))


def test_blurred_base_is_pillows_blur_and_frames_hold_8_bits(image):
    ranking = rank((image,))
    frames = Blurred(3.0).frames((image,), ranking, torch.tensor([[0, 480]] * 2))
    base, whole = frames.make(torch.tensor([1, 1]), torch.tensor([0, 480]))[0]
    pixels = Image.fromarray(to_bytes(image)[1]).filter(ImageFilter.GaussianBlur(3.0))
    assert (to_bytes(base[None])[0] == np.asarray(pixels)).all()
    torch.testing.assert_close(whole, (image[1] * 255).round() / 255)


def test_any_number_of_channels_is_blurred_one_by_one(image):
    six = torch.cat([image, image.flip(2)], 1)
    ranking, counts = rank((six,)), torch.tensor([[0, 480]] * 2)
    ends = [Blurred(3.0).frames((x,), ranking, counts).start[0] for x in (six, image)]
    torch.testing.assert_close(ends[0][:, :3], ends[1])
    torch.testing.assert_close(ends[0][:, 3:], ends[1].flip(2), atol=1 / 255, rtol=0)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.7, 0.95])
def test_interpolation_equals_one_over_all_known_pixels(share):
    generator = np.random.default_rng(2)
    photo = Image.fromarray(generator.integers(0, 255, (40, 30, 3), np.uint8))
    array = np.asarray(photo.filter(ImageFilter.GaussianBlur(2)))
    known = generator.random((40, 30)) < share
    # Revealed blocks, whose inner pixels cannot matter.
    known[5:20, 4:18] = True
    made = interpolate(array, known).astype(float)
    corners = known.copy()
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    points = np.argwhere(corners)
    grid = np.argwhere(np.ones_like(known))
    values = array[corners].astype(float)
    assert (made[corners] == array[corners]).all()

    def griddata_over(metric):
        found = griddata(points @ metric, values, grid @ metric, method="linear")
        return np.round(found.astype(np.float32)).reshape(array.shape)

    # Neighborhoods and the triangulation agree where pixels lie on one circle, too.
    if known.mean() > 0.3:
        assert (made == griddata_over(_METRIC)).all()
    # Of the plain triangulation only these pixels differ.
    expected = griddata_over(np.eye(2))
    assert (np.abs(made - expected) > 1).mean() < 0.04
    assert np.abs(made - expected).mean() < 0.15


def test_frames_nearly_equal_those_of_pair():
    golden = np.load(GOLDEN)
    images = from_bytes(golden["image"][None], torch.zeros(1))
    protocol = INFORMATION_PRESETS["xrai"]
    ranking = rank((torch.from_numpy(golden["saliency_random"])[None, None],))
    counts = protocol.counts(ranking.n_features)
    frames = InterpolatedFrames(images, golden["random_mask"], ranking, counts)
    # The reference stores thresholds number 0, 3, 7 and 11, after a base.
    made = frames.make(torch.zeros(4, dtype=torch.long), counts[0, [1, 4, 8, 12]])[0]
    different = to_bytes(made) != golden["blurred_random"]
    assert not different[:3].any()
    # Ties between triangulations are broken otherwise where pixels are dense.
    assert different[3].mean() < 0.1
    error = np.abs(to_bytes(made).astype(float) - golden["blurred_random"])
    assert error.mean() < 0.2


def test_random_pixels_are_the_share_asked_for_and_follow_the_seed():
    mask = Interpolated(0.1, seed=3).known(20, 30)
    assert mask.sum() == 60
    assert (mask == Interpolated(0.1, seed=3).known(20, 30)).all()
    assert (mask != Interpolated(0.1, seed=4).known(20, 30)).any()


def test_counts_are_those_of_a_quantile_without_ties():
    scores = np.random.default_rng(0).random(777)
    (counts,) = INFORMATION_PRESETS["xrai"].counts(torch.tensor([777])).tolist()
    fractions = INFORMATION_PRESETS["xrai"].fractions
    for fraction, count in zip(fractions[1:], counts[1:], strict=True):
        assert count == (scores >= np.quantile(scores, 1 - fraction)).sum()
    assert counts[0] == 0


@pytest.mark.parametrize("codec", [PNG, WEBP])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_are_those_of_lossless_files_in_the_frames_order(codec, channels, image):
    frames = torch.cat([image[:, :channels], image[:1, :channels] * 0])
    with CompressedSize(codec) as reading:
        sizes = reading((frames,), torch.tensor([0, 1, 0])).result()
    for array, size in zip(to_bytes(frames), sizes, strict=True):
        buffer = io.BytesIO()
        pixels = Image.fromarray(array if channels == 3 else array[..., 0])
        pixels.save(buffer, codec.format, **dict(codec.options))
        assert len(buffer.getvalue()) == size
        buffer.seek(0)
        assert (np.asarray(Image.open(buffer).convert(pixels.mode)) == np.asarray(pixels)).all()
    assert sizes[2] < sizes[0]


def test_codec_says_what_sizes_depend_on():
    assert "webp (lossless=True, quality=0), Pillow" in WEBP.version
    assert "libwebp" in WEBP.version
    assert "png ()" in PNG.version


def test_bytes_and_images_are_inverse():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert (to_bytes(from_bytes(levels, torch.zeros(1, dtype=dtype))) == levels).all()


def test_correct_is_where_no_class_scores_higher():
    output = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
    score = Score(lambda x: x, (output,), target=torch.tensor([1, 0, 0]))
    made = probability_and_correctness(score, (output,), torch.arange(3))
    torch.testing.assert_close(made[:, 0].float(), torch.tensor([0.5, 0.4, 0.1]))
    assert made[:, 1].tolist() == [1, 1, 0]
    one = Score(lambda x: x[:, :1], (output,), target=0)
    with pytest.raises(ValueError, match=r"`forward_func`.*2 classes.*\(3, 1\)"):
        probability_and_correctness(one, (output,), torch.arange(3))


class Reversed:
    """A base of one's own whose frames are made when they are read."""

    def __init__(self, inputs, ranking, change=lambda frames: (frames,)):
        self.inputs, self.ranking, self.change = inputs, ranking, change

    def make(self, rows, counts):
        shown = self.ranking.positions[0][rows] < counts.view(-1, 1, 1, 1)
        image = self.inputs[0][rows]
        return self.change(torch.where(shown, image, image.flip(3)))


class Own:
    def __init__(self, *change):
        self.change = change

    def frames(self, inputs, ranking, counts):
        return Reversed(inputs, ranking, *self.change)


def answer(x):
    p = (x[:, :1] * torch.linspace(0, 1, x.shape[3])).mean((2, 3))
    return torch.cat([p, 1 - p], 1)


@pytest.mark.parametrize("kind", [Insertion, Deletion, AIC, SIC])
def test_every_curve_takes_a_base_of_ones_own_as_it_takes_a_function(image, kind):
    settings = {"internal_batch_size": 3}
    if kind in (AIC, SIC):
        settings["preset"] = dataclasses.replace(INFORMATION_PRESETS["tmlr"], min_score=0.0)
    bases = Own(), lambda x: x.flip(3), Blurred(2.0)
    maps = (image * 4).round()  # ties
    found = []
    for base in bases:
        metric = kind(answer, base=base, **settings)
        metric.update(image, maps, target=1)
        found.append(metric._rows("y" if kind in (Insertion, Deletion) else "probability"))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x, "tuple"),
        (lambda x: (x[:, :1],), "shapes"),
        (lambda x: (x, x), "shapes"),
        (lambda x: (x / 0,), "finite"),
        (lambda x: (x + 1,), r"\[0, 1\]"),
    ],
)
def test_frames_that_do_not_fit_are_refused(image, change, words):
    with pytest.raises(ValueError, match=words):
        AIC(answer, base=Own(change)).update(image, image, target=1)


@pytest.mark.parametrize("wrong", [Blurred, torch.zeros(1), "blur"])
def test_what_is_no_base_is_refused(wrong):
    for kind in (Insertion, AIC):
        with pytest.raises(TypeError, match="frames"):
            kind(answer, base=wrong)


def test_a_base_of_images_refuses_tables():
    with pytest.raises(ValueError, match="Interpolated needs one tensor of images"):
        Insertion(answer, base=Interpolated()).update(torch.ones(1, 2), torch.ones(1, 2), target=0)


def test_base_and_reference_name_one_thing():
    with pytest.raises(ValueError, match="two names"):
        Insertion(answer, base=0.5, reference=1.0)
    assert Deletion.from_preset(answer, "igos", base=0.5).protocol["reference"] == "constant 0.5"


@pytest.mark.parametrize("groups", [None, torch.arange(24 * 20).view(1, 1, 24, 20) // 7])
def test_deleting_some_is_showing_the_others_in_reversed_order(image, groups):
    # Thirds of all features share their value: the order among equals must be reversed too.
    ranking = rank(((image * 2).round(),), groups)
    for count in (0, 1, 17, int(ranking.n_features[0])):
        left = ranking.reversed().positions[0] < (ranking.n_features - count).view(-1, 1, 1, 1)
        assert torch.equal(left, ranking.positions[0] >= count)
