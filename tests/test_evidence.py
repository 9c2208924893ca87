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
    assert verdict([1.0, nan], [0.0, 0.0]).word == "not measured"


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


def test_the_page_is_of_the_rows_that_are_kept(bench):
    from evidence_page import page
    from evidence_summary import summary

    found = summary(bench.rows_of(bench.ROWS))
    assert found == json.loads((ROOT / "benchmarks/evidence.json").read_text())
    assert page(found) == (ROOT / "docs/evidence.md").read_text()


def test_a_quick_run_leaves_the_rows_of_the_page_alone(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--quick"])
    assert "--quick needs --keep" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:nothing was deleted")
def test_a_quick_run_measures_once_and_makes_the_page(bench, monkeypatch, tmp_path):
    image = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    photographs = [bench.Example("one", image), bench.Example("two", image.flip(3))]
    monkeypatch.setattr(bench, "annotated", lambda _: photographs)
    words = ["--quick", "--keep", str(tmp_path / "kept"), "--into", str(tmp_path)]
    words += ["--without", "I-GOS", "iGOS+", "iGOS++"]
    words += ["--parts", *bench.PARTS]
    bench.main([*words, "--limit", "1"], small_net())
    file = tmp_path / "kept" / "lite0.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row.get("part", "base") for row in rows] == [*bench.PARTS]
    first = rows[0]
    scores = first["scores"]
    assert scores["edges"]["sanity"] == pytest.approx(1)
    assert len(scores) == 13
    ratio = scores["IG"]["insertion black"] / first["probability"]
    assert scores["IG"]["insertion ratio"] == pytest.approx(ratio)

    asked, second = [], {row.get("part", "base"): row | {"image": "two"} for row in rows}
    monkeypatch.setattr(
        bench, "measured_part", lambda part, *_: asked.append(part) or dict(second[part])
    )
    bench.main(words, small_net())
    bench.main(words, small_net())
    assert asked == [*bench.PARTS]
    assert len(file.read_text().splitlines()) == 2 * len(bench.PARTS)
    text = (tmp_path / "docs" / "evidence.md").read_text()
    assert all(f"\n| {name} |" in text for name in scores)
    assert (tmp_path / "docs" / "pictures" / "evidence.png").stat().st_size > 1000


def test_studies_join_the_rows_of_their_image_and_explain_what_fails(bench):
    from evidence_summary import summary

    def rows(k):
        base = {"IDGI over IG": {"f1": 0.1 + 0.01 * k}, "IG": {"f1": 0.5}, "random": {"f1": 0}}
        study = {"(g dx)^2 over IG": {"f1": 0.6 + 0.02 * k}, "IG": {"insertion share": 1}}
        kept = {"network": "a", "pixels": k, "settings": {}, "seconds": {"scores": 1}}
        return [{**kept, "part": "rules", "scores": study}, {**kept, "scores": base}]

    found = summary([row for k in range(3) for row in rows(k)])["a"]
    assert (found["n"], found["seconds"]) == (3, 1)
    assert set(found["means"]) == {"IDGI over IG", "IG", "random"}
    assert set(found["means"]["IG"]) == {"f1"}
    assert set(found["studies"]) == {"(g dx)^2 over IG", "IG"}
    assert set(found["studies"]["IG"]) == {"insertion share"}
    (outcome,) = found["experiments"]
    assert (outcome["score"], outcome["verdict"]) == ("f1", "holds")
    assert outcome["mean"] == pytest.approx(0.51)


def test_an_attack_stays_near_and_changes_the_class(bench):
    from evidence_studies import WITHIN, adversarial

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 4), torch.nn.Softmax(1))
    model[1].weight.data *= 20
    image = torch.rand(1, 3, 20, 20)
    attacked, wrong = adversarial(model, image)
    assert int(model(image).argsort()[0, -2]) == wrong == int(model(attacked).argmax())
    assert float((attacked - image).abs().max()) <= WITHIN + 1e-6
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1


def test_the_page_is_what_the_numbers_make(bench):
    from evidence_page import page

    found = json.loads((ROOT / "benchmarks" / "evidence.json").read_text())
    assert page(found) == (ROOT / "docs" / "evidence.md").read_text()


def test_aligned_goes_on_and_keeps_other_pairs(bench, tmp_path):
    import aligned

    found = tmp_path / "aligned.json"
    found.write_text('{"resnet-0:vit-0": {}}')
    words = ["--keep", str(tmp_path), "--pairs", "lite0:lite1", "--limit", "1", "--quick"]
    for _ in range(2):
        aligned.main([*words, "--json", str(found)], lambda name, weights: small_net())
    told = json.loads(found.read_text())
    assert [*told] == ["resnet-0:vit-0", "lite0:lite1"]
    (kept,) = (tmp_path / "lite0-judged-by-lite1.jsonl").read_text().splitlines()
    assert json.loads(kept)["own"].keys() == told["lite0:lite1"]["own"].keys()
    assert told["lite0:lite1"]["judge"].keys() == set(aligned.CARRIED)
    own = told["lite0:lite1"]["own"]
    assert own["Grad-CAM"]["insertion blur"]["ahead"][0] == 0
