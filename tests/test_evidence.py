"""The benchmark of the papers' claims: its verdicts by hand, its page, and that it goes on."""

import json
from math import nan, sqrt
from pathlib import Path

import pytest
import torch

from tests.conftest import small_net

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import evidence

    return evidence


def test_verdicts_of_hand_made_differences(bench):
    from evidence_claims import verdict

    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t of 2 degrees of freedom 4.303.
    found = verdict([2.0, 4.0, 6.0, nan], [1.0, 2.0, 3.0, 1.0])
    half = 4.302653 / sqrt(3)
    assert (found.n, found.mean) == (3, 2)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    assert found.word == "not decided"
    assert verdict([1.0, 1.1, 1.2], [0.0, 0.0, 0.0]).word == "holds"
    assert verdict([1.0, 1.1, 1.2], [0.0, 0.0, 0.0], direction=-1).word == "does not hold"
    assert verdict([1.0, nan], [0.0, 0.0]).word == "cannot be tested here"


def hand_made(scores, network="a"):
    kept = {"network": network, "settings": {}, "seconds": {"scores": 2.0}}
    return {**kept, "scores": scores}


def test_agreement_turns_scores_and_leaves_impostors_out(bench):
    from evidence_summary import above_random, agreement, judged, means

    one = {
        name: {"insertion blur": k, "deletion blur": -k, "f1": [0, 2, 1, 3][k]}
        for k, name in enumerate(("I-GOS", "iGOS+", "iGOS++", "RISE"))
    }

    def one_more(shift):
        chance = {"insertion blur": 9 + shift, "deletion blur": 9, "f1": -9 + shift}
        return hand_made(one | {"random": chance})

    rows = [hand_made(one | {"random": {"insertion blur": 9, "deletion blur": 9, "f1": -9}})] * 2
    found = agreement(rows)
    assert found["insertion blur | deletion blur"]["mean"] == 1
    # One of six pairs of methods is the other way round.
    assert found["insertion blur | f1"]["mean"] == pytest.approx(4 / 6, abs=1e-4)
    # Of f1 all are above the random map, of insertion none is.
    assert above_random([one_more(row) for row in (0, 0.1)])["f1"] == 1
    assert above_random([one_more(row) for row in (0, 0.1)])["insertion blur"] == 0
    assert means(rows)["iGOS++"]["deletion blur"]["mean"] == -2
    from evidence_claims import Claim

    claim = Claim("", "RISE", "I-GOS", "deletion blur")
    assert judged(rows, claim).mean == 3


def test_a_quick_run_measures_once_and_makes_the_page(bench, monkeypatch, tmp_path):
    image = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    photographs = [bench.Example(name, image) for name in ("one", "two")]
    monkeypatch.setattr(bench, "annotated", lambda _: photographs)
    words = ["--quick", "--keep", str(tmp_path / "kept"), "--into", str(tmp_path)]
    words += ["--without", "I-GOS", "iGOS+", "iGOS++"]
    bench.main([*words, "--limit", "1"], small_net())
    file = tmp_path / "kept" / "lite0.jsonl"
    (first,) = (json.loads(line) for line in file.read_text().splitlines())
    scores = first["scores"]
    assert scores["edges"]["sanity"] == pytest.approx(1)
    assert len(scores) == 13
    ratio = scores["IG"]["insertion black"] / first["probability"]
    assert scores["IG"]["insertion ratio"] == pytest.approx(ratio)

    asked = []
    monkeypatch.setattr(bench, "measured", lambda *given: asked.append(given[1].name) or second)
    second = first | {"image": "two"}
    bench.main(words, small_net())
    bench.main(words, small_net())
    assert asked == ["two"]
    assert len(file.read_text().splitlines()) == 2
    text = (tmp_path / "docs" / "evidence.md").read_text()
    assert all(f"\n| {name} |" in text for name in scores)
    assert (tmp_path / "docs" / "pictures" / "evidence.png").stat().st_size > 1000


def test_the_page_is_what_the_numbers_make(bench):
    from evidence_page import page

    found = json.loads((ROOT / "benchmarks" / "evidence.json").read_text())
    assert page(found) == (ROOT / "docs" / "evidence.md").read_text()
