"""One way from a file to the tensor that a model sees, whatever the command and the file."""

import errno
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from captum_ext.cli import main
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.folder import Folder
from captum_ext.cli.inputs.models import predict
from captum_ext.cli.inputs.pictures import PictureError, Reader, decoded
from tests.cli import pictures, spy
from tests.cli.pictures import KINDS, saved


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from tests.cli.spy import classifier, grey")
    Path("images").mkdir()
    return tmp_path


def write(content, name="images/x.png"):
    Path(name).write_bytes(content)
    return Path(name)


def seen_by(*words, model="classifier"):
    """The images that a command's model sees, one after the other."""
    spy.SEEN.clear()
    assert main([*words, "--model", f"mine.py:{model}", "--methods", "saliency"]) != 0
    return [image for batch in spy.SEEN for image in batch]


@pytest.mark.parametrize("model", ["classifier", "grey"])
def test_every_command_shows_the_model_the_same_tensor_of_a_file(model, folder):
    for name, content in KINDS.items():
        write(content, f"images/{name}")
    files = sorted(KINDS)
    by_evaluate = seen_by("evaluate", "images", model=model)
    by_sanity = seen_by("sanity", "images", "--limit", "100", model=model)
    reader = Reader(getattr(spy, model)())
    data = Folder(Path("images"), files, {}, {}, reader)
    assert len(files) == len(by_evaluate) == len(by_sanity) == len({*KINDS})
    for k, name in enumerate(files):
        (by_explain,) = seen_by("explain", f"images/{name}", model=model)
        spy.SEEN.clear()
        with pytest.raises(CallError, match="seen enough"):
            predict(spy.classifier() if model == "classifier" else spy.grey(), data[k][0][None])
        for other in (by_evaluate[k], by_sanity[k], data[k][0], spy.SEEN[0][0]):
            assert torch.equal(by_explain, other), name
        assert by_explain.shape == (3 if model == "classifier" else 1, 24, 24)


def test_a_plain_file_is_what_torchvision_makes_of_it(folder):
    for name in ("rgb.jpg", "rgb.png", "own_size.png", "odd_size.png", "rgb.webp", "rgb.bmp"):
        file = write(KINDS[name], name)
        with Image.open(file) as opened:
            expected = spy.STEPS(opened.convert("RGB"))
        reader = Reader(spy.classifier())
        assert torch.equal(reader.tensor(reader.picture(file)), expected)


def shades(name, content):
    return np.asarray(Reader(spy.classifier()).picture(write(content, name)))


def test_all_orientations_of_a_picture_are_upright(folder):
    for k in range(1, 9):
        assert np.array_equal(shades("x.png", KINDS[f"turned{k}.png"]), pictures.pixels())
        error = shades("x.jpg", KINDS[f"turned{k}.jpg"]).astype(int) - pictures.pixels()
        assert np.abs(error).max() < 16


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "twelve.tif", "float.tif"])
def test_grey_of_more_than_8_bits_is_scaled(name, folder):
    made = shades(name, KINDS[name])
    expected = pictures.grey() * 255
    assert np.abs(made - expected[..., None]).max() <= (1.0 if name == "twelve.tif" else 0.51)


def test_a_dark_picture_of_floats_stays_dark(folder):
    image = Image.fromarray((pictures.grey() * 0.2).astype(np.float32))
    assert shades("x.tif", saved(image, "TIFF")).max() == 51


def test_a_tiff_whose_white_is_zero_is_turned_round(folder):
    content = saved(Image.fromarray(pictures.DEEP), "TIFF", tiffinfo={262: 0})
    assert np.array_equal(shades("x.tif", content), 255 - shades("y.tif", KINDS["deep.tif"]))


def test_what_is_transparent_is_on_white(folder):
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert (shades("x.png", saved(clear, "PNG")) == 255).all()
    deep = Image.fromarray(np.full((20, 20), 700, np.uint16))
    assert (shades("x.png", saved(deep, "PNG", transparency=700)) == 255).all()


def test_black_and_dark_pictures_of_16_bits_have_a_known_range(folder):
    for most, shade in ((0, 0), (2**14, 64)):
        dark = np.zeros((20, 20), np.uint16)
        dark[3, 4] = most
        assert shades("x.png", saved(Image.fromarray(dark), "PNG")).max() == shade


@pytest.mark.parametrize("name", ["two.jpg", "moving.gif", "moving.png", "moving.webp"])
def test_of_several_frames_the_first_is_taken_and_it_is_said_once(name, folder, capsys):
    reader = Reader(spy.classifier())
    first = reader.picture(write(KINDS[name], name))
    reader.picture(Path(name))
    assert capsys.readouterr().err.count("several frames: the first is taken") == 1
    if name != "moving.webp":
        assert np.abs(np.asarray(first).astype(int) - pictures.pixels()).mean() < 8


def floats(value):
    values = pictures.grey().astype(np.float32)
    values[3, 4] = value
    return saved(Image.fromarray(values), "TIFF")


def integers(kind, low, high):
    return saved(Image.fromarray(np.linspace(low, high, 780).reshape(26, 30).astype(kind)), "TIFF")


def eps():
    return saved(pictures.rgb(), "EPS")


def dds():
    return saved(pictures.rgb(), "DDS")


REFUSED = {
    "nan": (floats(np.nan), "nan or infinite"),
    "infinite": (floats(np.inf), "nan or infinite"),
    "minus infinite": (floats(-np.inf), "nan or infinite"),
    "negative": (floats(-0.25), r"from -0.25 to 1, but .* in \[0, 1\]"),
    "above 1": (floats(255), "from 0 to 255, but"),
    "32 bits": (integers(np.int32, 0, 65535), "32-bit integers.*8 or 16 bits"),
    "negative integers": (integers(np.int32, -5, 200), "32-bit integers"),
    "10 bits in 16": (saved(Image.fromarray(pictures.DEEP // 64), "PNG"), "range is not known"),
    "14 bits in 16": (saved(Image.fromarray(pictures.DEEP // 4), "TIFF"), "16 bits, but all its"),
    "14 bits turned round": (
        saved(Image.fromarray(pictures.DEEP // 4), "TIFF", tiffinfo={262: 0}),
        "all its values are below 16384",
    ),
    "one pixel": (saved(Image.new("RGB", (1, 1)), "PNG"), "1 x 1 pixels, too small"),
    "thin": (saved(Image.new("RGB", (1, 300)), "PNG"), "too small"),
    "eps": (eps(), r"is not an image that is read \(BMP, GIF.*WEBP\)"),
    "dds": (dds(), "is not an image that is read"),
    "truncated": (KINDS["rgb.png"][:150], "is damaged"),
    "cut jpeg": (KINDS["rgb.jpg"][:400], "is damaged"),
    "empty": (b"", "is not an image"),
    "text": (b"hello", "is not an image"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_right_reading_is_refused_everywhere_with_its_reason(kind, folder, capsys):
    content, words = REFUSED[kind]
    write(content)
    with pytest.raises(PictureError, match=words) as refused:
        Reader(spy.classifier()).picture(Path("images/x.png"))
    assert main(["explain", "images/x.png", "--model", "mine.py:classifier"]) == 2
    assert refused.value.reason in capsys.readouterr().err
    with pytest.raises(ValueError, match=words):
        Folder(Path("images"), ["x.png"], {}, {}, Reader(spy.classifier()))[0]


def test_ghostscript_is_never_started(folder, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("was started"))
    with pytest.raises(PictureError, match="is not an image"):
        decoded(write(eps()))


def test_a_decompression_bomb_is_refused_and_not_loaded(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(PictureError, match="too many pixels"):
        decoded(write(KINDS["rgb.png"]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.raises(PictureError, match="too many pixels"):
        decoded(write(KINDS["rgb.png"]))


def test_what_is_no_file_is_a_fault_of_the_path_and_a_failing_disk_is_not(folder, monkeypatch):
    Path("loop.png").symlink_to("loop.png")
    Path("gone.png").symlink_to("nowhere.png")
    Path("folder.png").mkdir()
    for name in ("loop.png", "gone.png", "folder.png", "nowhere.png", "x" * 300 + ".png"):
        with pytest.raises(PictureError, match=r"can't be read|is not a file"):
            decoded(Path(name))

    def fails(code):
        def read(file):
            raise OSError(code, "of the system")

        return read

    file = write(KINDS["rgb.png"])
    monkeypatch.setattr(Path, "read_bytes", fails(errno.EACCES))
    with pytest.raises(PictureError, match="can't be read"):
        decoded(file)
    monkeypatch.setattr(Path, "read_bytes", fails(errno.EIO))
    with pytest.raises(OSError, match="of the system") as failed:
        decoded(file)
    assert not isinstance(failed.value, PictureError)


def test_no_mutated_file_gives_anything_but_a_picture_or_a_reason(folder):
    draw = random.Random(0)
    reader = Reader(spy.classifier())
    reasons, taken = [], 0
    for k in range(300):
        content = bytearray(KINDS[draw.choice(sorted(KINDS))])
        for _ in range(draw.choice([1, 3, 30])):
            content[draw.randrange(len(content))] = draw.randrange(256)
        if k % 3 == 0:
            del content[draw.randrange(len(content)) :]
        try:
            made = reader.tensor(reader.picture(write(bytes(content))))
        except PictureError as error:
            reasons.append(error.reason)
        else:
            assert made.shape == (3, 24, 24)
            assert made.isfinite().all()
            taken += 1
    assert min(taken, len(reasons)) > 50
    assert all(len(reason) > 10 for reason in reasons)


TRANSFORMS = {
    "crop": (transforms.RandomResizedCrop(24), "draws random numbers"),
    "flip": (transforms.RandomHorizontalFlip(), "draws random numbers"),
}


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_transform_that_draws_random_numbers_is_refused(kind):
    drawing, words = TRANSFORMS[kind]
    steps = transforms.Compose([drawing, transforms.ToTensor()])
    with pytest.raises(CallError, match=words):
        Reader(spy.classifier(steps))


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (lambda picture: picture, "floating point tensor"),
        (transforms.PILToTensor(), "floating point tensor"),
        (
            lambda picture: 1 / 0,
            "fails on a picture of 30 x 26 pixels: ZeroDivision",
        ),
        (lambda picture: torch.full((3, 4, 4), torch.nan), "nan or inf"),
    ],
)
def test_a_transform_that_gives_no_image_is_named(transform, words):
    with pytest.raises(CallError, match=words):
        Reader(spy.classifier(transform)).tensor(pictures.rgb())


def test_a_model_of_other_channels_is_refused():
    with pytest.raises(CallError, match="4 channels"):
        Reader(spy.classifier(channels=4))


AFTERWARDS = {
    "as it is": transforms.Lambda(lambda image: image),
    "normalized": transforms.Normalize([0.9] * 3, [0.1] * 3),
    "inverted": transforms.Lambda(lambda image: 1 - image),
}


@pytest.mark.parametrize("kind", AFTERWARDS)
def test_regions_go_where_the_picture_goes_whatever_becomes_of_colors(kind):
    steps = transforms.Compose([spy.STEPS, AFTERWARDS[kind]])
    region = Image.new("L", (40, 60))
    region.paste(255, (5, 10, 25, 30))
    inside = Reader(spy.classifier(steps)).region(region)
    expected = spy.STEPS(region)[0] > 0.5
    assert torch.equal(inside, expected)
    assert 0 < expected.sum() < expected.numel()
