import io

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ext.curve import WEBP_FULL, Frames, rank
from captum_ext.curve.codec import PNG, WEBP, Codec, CompressedSize, _Known
from captum_ext.curve.frames import read
from captum_ext.metrics import information_metrics


@pytest.fixture
def coded(monkeypatch):
    """The images that a codec is given while a test lasts, which begins knowing none."""
    seen = []
    code = Codec._coded

    def spy(self, pixels):
        seen.append(pixels.tobytes())
        return code(self, pixels)

    monkeypatch.setattr(Codec, "_coded", spy)
    monkeypatch.setattr("captum_ext.curve.codec._KNOWN", _Known(most=64))
    return seen


def noise(seed, channels=3):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (16, 16, channels), dtype=np.uint8)


def test_an_image_is_coded_once_by_each_codec(coded):
    for codec in (PNG, WEBP, WEBP_FULL):
        buffer = io.BytesIO()
        Image.fromarray(noise(0)).save(buffer, codec.format, **dict(codec.options))
        sizes = {
            codec.size(noise(0)),
            codec.size(noise(0)),
            Codec(*vars(codec).values()).size(noise(0)),
        }
        assert sizes == {buffer.tell()}
    assert len(coded) == 3


def test_images_of_equal_bytes_and_other_shapes_are_told_apart(coded):
    flat = np.zeros((8, 32, 1), np.uint8)
    assert PNG.size(flat) != PNG.size(noise(1))
    PNG.size(flat.reshape(32, 8, 1))
    assert len(coded) == 3


def test_sizes_found_long_ago_are_forgotten():
    known = _Known(most=2)
    for key in (1, 2, 1, 3):
        if known.get(key) is None:
            known.add(key, 10 * key)
    assert [known.get(key) for key in (1, 2, 3)] == [10, None, 30]


@pytest.mark.parametrize("preset", ["xrai", "idgi"])
def test_maps_of_an_image_share_what_codecs_are_asked(coded, preset):
    def model(x):
        return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)

    image, maps = torch.rand(1, 3, 16, 16), torch.rand(2, 1, 3, 16, 16)

    def update(*credits):
        metrics = information_metrics(model, levels=("entropy",), preset=preset)
        for credit in credits:
            metrics.update(image, credit, target=0)

    update(maps[0])
    alone = len(coded)
    update(maps[0], maps[0] * 2)
    assert len(coded) == alone
    update(maps[1])
    # Nothing revealed and all revealed.
    assert len(coded) == 2 * alone - 2 == len(set(coded))


def test_a_codec_works_on_a_chunk_while_the_next_is_made():
    events = []

    class Watched(CompressedSize):
        def __call__(self, points, rows):
            sizes, number = super().__call__(points, rows), len(events)

            class Later:
                def result(self):
                    events.append(("waited for", number))
                    return sizes.result()

            events.append(("begun", number))
            return Later()

    image = torch.rand(1, 3, 8, 8)
    frames = Frames((image * 0,), (image,), rank((image,)), torch.tensor([[0, 16, 32, 64]]))
    with Watched(PNG) as reading:
        (sizes,) = read(frames, [reading], 2)
    assert [what for what, _ in events] == ["begun", "begun", "waited for", "waited for"]
    shown = [frames.make(torch.tensor([0]), torch.tensor([c]))[0][0] for c in (0, 16, 32, 64)]
    alone = [PNG.size((s * 255).round().byte().permute(1, 2, 0).numpy()) for s in shown]
    assert sizes.tolist() == [alone]
