"""Which files of a folder are data, what is said of them, and whose fault a failure is."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from PIL import Image
from torch import nn

from captum_ext import ImageClassifier
from captum_ext.cli.errors import CallError
from captum_ext.cli.inputs.annotation import Annotation
from captum_ext.cli.inputs.folder import Folder, assigned, images_of
from captum_ext.cli.inputs.pictures import Reader
from captum_ext.evaluation import evaluate
from captum_ext.metrics import Insertion
from tests.cli import pictures, spy


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.jpg", "sub/c.PNG", "sub/notes.txt"):
        place = tmp_path / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    return tmp_path


def files(**options):
    return images_of(Path("images"), **options).files


def test_images_are_sorted_and_masks_are_none():
    assert files() == ["a.jpg", "b.png", "sub/c.PNG"]
    assert files(masks=[Path("images/sub/../b.png")]) == ["a.jpg", "sub/c.PNG"]


@pytest.mark.parametrize("way", ["relative", "absolute", "by a link", "a link", "not there"])
def test_what_is_below_out_is_no_image(way, folder):
    real = folder / "results" if way == "a link" else folder / "images" / "results"
    out = Path("images/results")
    if way != "not there":
        real.mkdir()
        (real / "curves.png").write_bytes(b"")
    if way == "absolute":
        out = out.resolve()
    elif way == "a link":
        (folder / "images/results").symlink_to(real)
    elif way == "by a link":
        Path("elsewhere").symlink_to("images/results")
        out = Path("elsewhere")
    assert files(out=out) == ["a.jpg", "b.png", "sub/c.PNG"]


def test_out_is_not_the_images_themselves():
    for out in ("images", "images/sub/.."):
        with pytest.raises(CallError, match="--out is IMAGES images itself"):
            files(out=Path(out))
    assert files(out=Path(".")) == files()


def test_links_are_followed_and_loops_end(folder):
    (folder / "more").mkdir()
    (folder / "more" / "d.png").write_bytes(b"")
    Path("images/class").symlink_to(folder / "more")
    Path("images/sub/up").symlink_to("..")
    Path("more/images").symlink_to(folder / "images")
    Path("images/loop.png").symlink_to("loop.png")
    assert files() == ["a.jpg", "b.png", "class/d.png", "loop.png", "sub/c.PNG"]


def test_what_is_not_read_is_said(monkeypatch):
    Path("images/x.heic").write_bytes(b"")
    scan = os.scandir

    def refuse(place):
        if str(place).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    listed = images_of(Path("images"))
    assert listed.files == ["a.jpg", "b.png"]
    assert listed.notes == [
        "IMAGES: images/sub can't be read (Permission denied): what it holds is missing",
        "IMAGES holds 1 picture of formats that are not read, such as 'x.heic'",
    ]


def test_paths_mean_an_image_with_or_without_its_suffix():
    images = ["a.png", "sub/b.jpg", "sub/b.png", "c.d.png"]
    said = {"a": 1, "sub/b.jpg": 2, "c.d": 3, "gone": 4}
    found, notes = assigned(images, said, "--labels")
    assert found == {"a.png": 1, "sub/b.jpg": 2, "c.d.png": 3}
    assert notes == ["--labels names 1 image that is not there, such as 'gone'"]
    assert assigned(images, {"a": 1, "a.png": 1}, "--labels") == ({"a.png": 1}, [])
    assert assigned(images, {}, "--labels") == ({}, [])
    for wrong, words in (
        ({"a": 1, "a.png": 2}, "says different things of 'a' and 'a.png'"),
        ({"sub/b": 1}, "'sub/b', which is 'sub/b.jpg' as well as 'sub/b.png'"),
        ({"gone": 1}, "paths are relative to IMAGES"),
    ):
        with pytest.raises(CallError, match=words):
            assigned(images, wrong, "--labels")


def data(names, annotations=None):
    return Folder(Path("images"), names, {}, annotations or {}, Reader(spy.classifier()))


def test_a_fault_of_an_image_is_a_value_error_and_one_of_the_disk_is_not():
    Image.new("RGB", (24, 24)).save("images/b.png")
    Path("images/loop.png").symlink_to("loop.png")
    Path("images/far.png").symlink_to("nowhere.png")
    names = ["a.jpg", "b.png", "far.png", "loop.png"]
    held = data(names, {"b.png": Annotation(problem="its annotation is odd")})
    for k, words in enumerate(("not an image", "is odd", "is not a file", "can't be read")):
        with pytest.raises(ValueError, match=words):
            held[k]
    Path("images/b.png").unlink()
    with pytest.raises(FileNotFoundError, match="has gone since the start"):
        held[1]


def test_masks_follow_the_picture():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:25, 10:40] = 255
    Image.fromarray(pixels).save("images/b.png")
    image, target, mask = data(["b.png"], {"b.png": Annotation(2, ((10, 5, 40, 25),))})[0]
    assert target == 2
    assert torch.equal(mask, image[0] > 0.5)


def test_regions_of_several_classes_are_told_by_their_files_content():
    Image.new("RGB", (40, 40)).save("images/b.png")
    for name, left in (("one", 0), ("two", 20)):
        pixels = np.zeros((40, 40), np.uint8)
        pixels[:, left : left + 20] = 255
        Image.fromarray(pixels).save(f"{name}.png")
    own = [(k, Annotation(masks=(Path(f"{name}.png"),))) for k, name in ((1, "one"), (3, "two"))]
    whole = Annotation((1, 3), masks=(Path("one.png"), Path("two.png")), of_class=tuple(own))
    held = data(["b.png"], {"b.png": whole})
    _, target, mask = held[0]
    assert target == (1, 3)
    assert mask.dim() == 3
    assert bool((mask.sum(0) == 1).all())
    width = mask.shape[2] // 2
    assert bool(mask[0, :, :width].all() and mask[1, :, width:].all())
    before = held.identity(0)
    Path("one.png").rename("moved.png")
    own[0] = (1, Annotation(masks=(Path("moved.png"),)))
    whole = replace(whole, masks=(Path("moved.png"), Path("two.png")), of_class=tuple(own))
    assert data(["b.png"], {"b.png": whole}).identity(0) == before
    Image.new("L", (40, 40)).save("moved.png")
    assert data(["b.png"], {"b.png": whole}).identity(0) != before


def test_images_of_several_sizes_get_the_numbers_that_they_get_alone():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
    model = ImageClassifier(nn.Sequential(*layers).eval(), [0.5] * 3, [0.5] * 3)
    names = []
    for k, (width, height) in enumerate([(20, 20), (20, 20), (31, 17), (9, 40)]):
        names.append(f"{k}.png")
        pictures.rgb(k, width=width, height=height).save(f"images/{k}.png")
    held = Folder(Path("images"), names, {}, {}, Reader(model))
    assert [tuple(held[k][0].shape[1:]) for k in range(4)] == [
        (20, 20),
        (20, 20),
        (17, 31),
        (40, 9),
    ]
    tables = [
        evaluate(model, held, {"gradient": Saliency(model)}, {"i": Insertion(model, n_steps=4)},
                 batch_size=size, seed=0).values["i"]["gradient"]
        for size in (4, 1)
    ]  # fmt: skip
    assert tables[0].isfinite().all()
    torch.testing.assert_close(tables[0], tables[1])
