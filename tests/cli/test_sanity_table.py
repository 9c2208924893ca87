"""What ``sanity`` prints: chance beside each number, impostors, and what has no value."""

import pytest
import torch
from torch import nn

from captum_ext.cli.sanity_table import above_chance, as_text, table, with_impostors
from captum_ext.metrics import ParameterRandomization

SIMILARITY = ["unsigned_spearman", "abs_spearman"]


class Known:
    def __init__(self, maps):
        self.maps = [*maps]

    def attribute(self, inputs, target=None):
        return self.maps.pop(0)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(200, 2))


def checked(net, *maps):
    method = Known(maps)
    check = ParameterRandomization(lambda model: method, similarity=SIMILARITY)
    check.update(net, torch.zeros(len(maps[0]), 1, 12, 12), target=1)
    return check


def printed(net, *maps):
    checks = {"known": checked(net, *maps)}
    images = torch.rand(len(maps[0]), 1, 12, 12)
    checks = with_impostors(checks, net, images)
    labels = {"known": "Known", **{name: name for name in checks if name != "known"}}
    return as_text(table(checks), SIMILARITY, labels, checks)


def noise(n, seed):
    return torch.randn(n, 1, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_each_method_stands_beside_chance_and_both_impostors(net):
    text = printed(net, noise(7, 0), noise(7, 1), noise(7, 2))
    lines = text.splitlines()
    rows = [line.split()[0] for line in lines[1:7]]
    assert rows == ["Known", "by", "image", "by", "random", "by"]
    assert lines[3].split()[2] == "1.000"
    assert "Known:" not in text
    assert "image edges: with all weights drawn anew still more alike than by chance" in text
    assert "random map:" not in text


def test_what_has_no_value_or_vanished_is_counted(net):
    first, second = noise(7, 0), noise(7, 1)
    first[:3], second[4] = 0.25, 0
    text = printed(net, first, second, noise(7, 2))
    assert "Known: 3 of 7 images have no value: map constant" in text
    assert "Known: 1 of 14 maps, over images and stages, vanished (*)" in text
    (starred,) = [line for line in text.splitlines() if "*" in line and "%" in line]
    assert starred.split()[0] == "3"


def test_a_reason_of_some_similarities_alone_names_them(net):
    text = printed(net, noise(7, 0).sign(), noise(7, 1), noise(7, 2))
    assert "Known: 7 of 7 images have no value in abs_spearman: map constant" in text


def test_a_map_that_stays_is_above_chance_only_where_an_interval_says_so(net):
    maps = noise(7, 0)
    assert above_chance(checked(net, maps, maps, maps)) == SIMILARITY
    assert above_chance(checked(net, maps, maps, noise(7, 2))) == []
    assert above_chance(checked(net, *[maps[:2]] * 3)) == []
