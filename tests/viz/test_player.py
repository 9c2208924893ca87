"""The page with the slider shows the frames and answers of the curves, in a real browser too."""

import base64
import json
import re
import zlib

import pytest
import torch

from captum_ext.curve import Constant, rank
from captum_ext.curve.frames import even_counts
from captum_ext.metrics import deletion_curve, insertion_curve
from captum_ext.viz.player import Played, write_player
from tests.browser import PLAYER, asked, needs_browser

N_STEPS = 5


def model(x):
    p = x[:, :, :4].mean((1, 2, 3))
    return torch.stack([p, 1 - p], 1)


@pytest.fixture(scope="module")
def image():
    levels = torch.randint(256, (1, 3, 8, 12), generator=torch.Generator().manual_seed(0))
    return levels / 255


@pytest.fixture(scope="module")
def maps():
    generator = torch.Generator().manual_seed(1)
    credit = torch.randn(1, 3, 8, 12, generator=generator)
    ties = torch.zeros(1, 3, 8, 12)
    ties[..., :3] = 1.0
    return {"Mine <b>": credit, "Ties": ties}


@pytest.fixture(scope="module")
def page(image, maps, tmp_path_factory):
    played = []
    for label, credit in maps.items():
        curves = {
            f"{name}{suffix}": curve(model, image, credit, target=0, n_steps=N_STEPS,
                                     reduction=reduction)
            for suffix, reduction in {"": "sum", "_abs": "abs_sum"}.items()
            for name, curve in {"insertion": insertion_curve, "deletion": deletion_curve}.items()
        }  # fmt: skip
        played.append(Played(label, credit[0], curves))
    file = tmp_path_factory.mktemp("page") / "figure.html"
    write_player(file, image[0], image[0] * 0, played, "</title><i>cat", "Hidden pixels are black.",
                 notes=["Blur IG is missing: <no> gradient."])  # fmt: skip
    return file


def frame(image, credit, curve, reduction, step):
    """The picture that the metric asked, by the metric's own pieces."""
    order = rank((credit,), reduction=reduction)
    count = even_counts(order.n_features, N_STEPS)[:, step]
    if curve == "deletion":
        order, count = order.reversed(), order.n_features - count
    frames = Constant(0.0).frames((image,), order, count[:, None])
    return (frames.make(torch.tensor([0]), count)[0][0] * 255).round().int()


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "<i>cat" not in text
    assert "<no>" not in text
    assert "Mine <b>" not in text
    assert "written by captum_ext" in text[:200]


def test_the_page_holds_the_steps_and_answers_of_the_curves(page, image, maps):
    (held,) = re.findall(r'id="held">(.*)</script>', page.read_text(encoding="utf-8"))
    held = json.loads(held)
    for own, (_, credit) in zip(held["maps"], maps.items(), strict=True):
        for suffix, reduction in {"": "sum", "_abs": "abs_sum"}.items():
            packed = base64.b64decode(own["orders"][suffix])
            steps = torch.frombuffer(bytearray(zlib.decompress(packed)), dtype=torch.uint8)
            for step in range(N_STEPS + 1):
                shown = (steps <= step).view(8, 12)
                expected = frame(image, credit, "insertion", reduction, step)
                assert torch.equal((image[0] * 255).round().int() * shown, expected)
        curve = insertion_curve(model, image, credit, target=0, n_steps=N_STEPS)
        assert own["curves"]["insertion"]["y"] == pytest.approx(curve.y[0].tolist(), abs=1e-6)


READ = """
await until('insertion_abs 0');
const found = {};
for (const [curve, order, step] of CASES) {
  document.querySelector(`input[name=curve][value=${curve}]`).checked = true;
  document.querySelector(`input[name=order][value="${order}"]`).checked = true;
  slider.value = step;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  await until(`${curve}${order} ${step}`);
  found[`${curve}${order} ${step}`] = [...document.querySelectorAll('.card')].map((card) => ({
    pixels: [...card.querySelector('canvas').getContext('2d').getImageData(0, 0, 12, 8).data],
    score: card.querySelector('.score').textContent,
    points: card.querySelectorAll('circle').length,
    label: card.querySelector('h2').textContent,
  }));
}
slider.focus();
answer({found, share: document.getElementById('share').value, role: slider.getAttribute('type')});
"""
CASES = [
    ("insertion", "_abs", 2),
    ("deletion", "", 1),
    ("deletion", "_abs", 5),
    ("insertion", "", 0),
]


@needs_browser
def test_the_slider_shows_the_frames_that_were_asked_with_their_answers(
    page, image, maps, tmp_path
):
    told = asked(page, PLAYER + READ.replace("CASES", json.dumps(CASES)), tmp_path)
    assert told["share"] == "0 %"
    for curve, order, step in CASES:
        reduction = "abs_sum" if order else "sum"
        cards = told["found"][f"{curve}{order} {step}"]
        assert [card["label"] for card in cards] == [*maps]
        for card, credit in zip(cards, maps.values(), strict=True):
            pixels = torch.tensor(card["pixels"]).view(8, 12, 4)[..., :3].permute(2, 0, 1)
            assert torch.equal(pixels.int(), frame(image, credit, curve, reduction, step))
            made = insertion_curve if curve == "insertion" else deletion_curve
            y = made(model, image, credit, target=0, n_steps=N_STEPS, reduction=reduction).y[0]
            assert card["score"].startswith(f"{float(y[step]):.3f} with {20 * step} % of pixels")
            assert card["points"] == N_STEPS + 1


def test_maps_without_curves_are_refused(tmp_path, image):
    with pytest.raises(ValueError, match="curves of insertion and deletion"):
        write_player(tmp_path / "a.html", image[0], image[0], [], "cat", "black")
