"""Masks over features that are no pixels: tables, tokens, volumes, superpixels, tuples."""

import pytest
import torch
from torch import Tensor, nn

from captum_ext.attr import IGOS, IGOSPlus, IGOSPlusPlus, MeaningfulPerturbation
from captum_ext.mask import Backtracking
from tests.conftest import WEAK_EVIDENCE

pytestmark = WEAK_EVIDENCE

METHODS = {m.__name__: m for m in (IGOS, IGOSPlus, IGOSPlusPlus, MeaningfulPerturbation)}
everywhere = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@everywhere
def test_finds_the_columns_of_a_table_that_matter(method):
    def model(rows: Tensor) -> Tensor:
        return torch.sigmoid(4 * rows[:, 2] + 4 * rows[:, 5] - 4)

    rows = torch.rand(4, 8, generator=torch.Generator().manual_seed(0)) / 2 + 0.5
    # At weight 1 a column costs an eighth, and the deletion of the second one brings less.
    explainer = method(model, l1_weight=0.1)
    maps = explainer.attribute(rows, baselines=0, feature_mask=torch.arange(8)[None], n_iter=15)
    assert maps.shape == rows.shape
    assert all(set(m.topk(2).indices.tolist()) == {2, 5} for m in maps)


@everywhere
def test_columns_of_one_group_share_their_value(method):
    groups = torch.tensor([[7, 7, 3, 3, 11]])
    rows = torch.ones(2, 5)
    maps = method(lambda x: torch.sigmoid(6 * x[:, 0] - 3)).attribute(
        rows, baselines=0, feature_mask=groups, n_iter=15
    )
    assert torch.equal(maps[:, 0], maps[:, 1])
    assert torch.equal(maps[:, 2], maps[:, 3])
    assert (maps[:, 0] > maps[:, 2:].amax(1)).all()


@everywhere
def test_finds_the_token_that_decides(method):
    torch.manual_seed(0)
    tokens = torch.randn(3, 6, 4)
    tokens[:, :, 0] = 0
    where = torch.tensor([1, 4, 2])
    tokens[torch.arange(3), where, 0] = 3

    def model(x: Tensor) -> Tensor:
        return torch.sigmoid(4 * x[:, :, 0].amax(1) - 6)

    groups = torch.arange(6).view(1, 6, 1)
    maps = method(model).attribute(tokens, baselines=0, feature_mask=groups, n_iter=15)
    assert maps.shape == tokens.shape
    assert maps.sum(2).argmax(1).tolist() == where.tolist()
    assert torch.equal(maps, maps[:, :, :1].expand_as(maps))


@everywhere
def test_finds_the_block_of_a_volume_that_decides(method):
    volume = torch.full((2, 1, 6, 8, 8), 0.2)
    volume[:, :, 2:4, 4:8, 0:4] = 1
    conv = nn.Conv3d(1, 1, 3, padding=1)
    conv.weight.data.fill_(1 / 27)
    conv.bias.data.fill_(-0.5)

    def model(x: Tensor) -> Tensor:
        return torch.sigmoid(200 * torch.relu(conv(x)).mean((1, 2, 3, 4)) - 1.5)

    depth, height, width = torch.meshgrid(*map(torch.arange, (6, 8, 8)), indexing="ij")
    blocks = (depth // 2 * 4 + height // 4 * 2 + width // 4)[None, None]
    maps = method(model).attribute(volume, baselines=0, feature_mask=blocks, n_iter=15)
    assert maps.shape == volume.shape
    assert (maps[:, :, 2:4, 4:8, 0:4].amin((1, 2, 3, 4)) == maps.amax((1, 2, 3, 4))).all()
    assert maps.mean() < 0.5 * maps.max()


@everywhere
@pytest.mark.parametrize("layout", range(3))
def test_a_batch_equals_its_examples_whatever_their_groups(method, layout):
    generator = torch.Generator().manual_seed(layout)
    rows = torch.rand(4, 9, generator=generator, dtype=torch.float64) + 0.5
    weights = 2 * torch.rand(9, generator=generator, dtype=torch.float64)
    # One group, a few, one for each column; numbers with gaps, and some that others lack.
    most = torch.tensor([1, 3, 5, 50])[:, None]
    groups = 7 * (torch.rand(4, 9, generator=generator) * most).long() - 3
    explainer = method(lambda x: torch.sigmoid(x @ weights - 4), l1_weight=0.1)
    together = explainer.attribute(rows, baselines=0, feature_mask=groups, n_iter=8)
    alone = [
        explainer.attribute(rows[i : i + 1], baselines=0, feature_mask=groups[i : i + 1], n_iter=8)
        for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-9, rtol=0)
    assert together.amax() > 0.1


@everywhere
def test_superpixels_may_differ_by_example(method):
    images = torch.zeros(2, 3, 8, 8)
    images[0, :, :4], images[1, :, :, :4] = 1, 1
    halves = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    halves[0, :, :4], halves[1, :, :, :4] = 1, 1
    explainer = method(lambda x: torch.sigmoid(8 * x.mean((1, 2, 3)) - 3), l1_weight=0.1)
    maps = explainer.attribute(images, baselines=0, feature_mask=halves, n_iter=15)
    bright = halves.bool().expand_as(images)
    assert maps[bright].min() > maps[~bright].max()
    alone = explainer.attribute(images[1:], baselines=0, feature_mask=halves[1:], n_iter=15)
    torch.testing.assert_close(maps[1:], alone)


@everywhere
def test_a_tuple_of_images_has_a_mask_for_each(method):
    images = torch.rand(2, 3, 12, 10), torch.rand(2, 1, 8, 9)
    maps = method(lambda a, b: torch.sigmoid(6 * b[:, :, 2:6, 2:6].mean((1, 2, 3))), 6).attribute(
        images, baselines=(0, 0.0), n_iter=10
    )
    assert [m.shape for m in maps] == [x.shape for x in images]
    assert maps[1].mean() > 5 * maps[0].mean()


def test_examples_with_their_own_groups_in_a_tuple_are_alone_too():
    inputs = torch.ones(2, 3).double(), torch.ones(2, 4).double()
    groups = torch.tensor([[0, 1, 2]]), torch.tensor([[2, 3, 4, 5], [0, 0, 0, 1]])
    explainer = IGOS(lambda a, b: torch.sigmoid(3 * a[:, 2] + 3 * b[:, 0] - 3), l1_weight=0.2)
    together = explainer.attribute(inputs, baselines=0, feature_mask=groups, n_iter=8)
    for i in range(2):
        alone = explainer.attribute(
            tuple(x[i : i + 1] for x in inputs),
            baselines=0,
            feature_mask=(groups[0], groups[1][i : i + 1]),
            n_iter=8,
        )
        for here, there in zip(together, alone, strict=True):
            torch.testing.assert_close(here[i : i + 1], there, atol=1e-9, rtol=0)


@pytest.mark.parametrize("method", [IGOS, IGOSPlus, IGOSPlusPlus], ids=lambda m: m.__name__)
def test_the_search_leaves_ones_where_no_column_alone_changes_a_sure_model(method):
    # Saturated: each of twelve columns alone costs more than the score falls by its deletion.
    def model(rows: Tensor) -> Tensor:
        return torch.sigmoid(2 * rows[:, :12].sum(1) - 12)

    groups = torch.arange(16)[None]
    run = method(model).optimize(torch.ones(1, 16), baselines=0, feature_mask=groups)
    assert (run.attributions[0, :12] > 0.5).sum() >= 3
    assert not run.attributions[0, 12:].any()
    steps = method(model, step=Backtracking(jumps=()), noise_std=0.0)
    low = run.descent.objective[~run.descent.objective.isnan()].min()
    start = steps.optimize(torch.ones(1, 16), 0, feature_mask=groups, n_iter=1).descent.objective
    assert low < start[0, 0] - 0.1


def test_one_feature_mask_runs_through_a_tuple():
    inputs = torch.ones(2, 3), torch.ones(2, 4)
    groups = torch.tensor([[0, 1, 2]]), torch.tensor([[2, 3, 4, 5]])
    maps = IGOS(lambda a, b: torch.sigmoid(3 * a[:, 2] + 3 * b[:, 0] - 3)).attribute(
        inputs, baselines=0, feature_mask=groups, n_iter=15
    )
    assert torch.equal(maps[0][:, 2], maps[1][:, 0])
    assert (maps[0][:, 2] > maps[0][:, :2].amax(1)).all()
