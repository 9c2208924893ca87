"""Ranking: exact places, seeded ties, groups."""

import pytest
import torch

from captum_ext.curve import rank


def test_a_map_with_few_nonzeros_is_ranked_exactly():
    credit = torch.zeros(1, 1, 10, 10)
    credit[0, 0, 3, :5] = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    (places,) = rank((credit,)).positions
    assert places[0, 0, 3, :5].tolist() == [0, 1, 2, 3, 4]
    assert sorted(places.flatten().tolist()) == list(range(100))


def test_equals_are_shuffled_by_the_seed_alone_and_alike_in_every_example():
    credit = torch.zeros(2, 1, 8, 8)
    (first,) = rank((credit,), seed=1).positions
    torch.manual_seed(9)
    (again,) = rank((credit,), seed=1).positions
    (other,) = rank((credit,), seed=2).positions
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first, other)
    assert not torch.equal(first[0].flatten(), torch.arange(64))


def test_channels_become_one_rank_by_sum_or_by_absolute_values():
    credit = torch.tensor([[[[0.5, -3.0]], [[0.4, 1.0]]]])
    assert rank((credit,)).positions[0].flatten().tolist() == [0, 1]
    assert rank((credit,), reduction="abs_sum").positions[0].flatten().tolist() == [1, 0]


def test_elements_of_tables_are_features_of_their_own_across_tensors():
    first, second = rank((torch.tensor([[0.1, 0.8]]), torch.tensor([[0.5]]))).positions
    assert first.tolist() == [[2, 0]]
    assert second.tolist() == [[1]]


def test_groups_are_ranked_by_their_mean_and_change_over_as_one():
    credit = torch.tensor([[0.4, 0.4, 0.4, 0.9]])
    ranking = rank((credit,), feature_mask=torch.tensor([[7, 7, 7, 2]]))
    assert ranking.positions[0].tolist() == [[1, 1, 1, 0]]
    assert ranking.n_features.tolist() == [2]


def test_examples_may_have_groups_of_their_own():
    credit = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    ranking = rank((credit,), feature_mask=torch.tensor([[0, 0, 1], [2, 3, 4]]))
    assert ranking.positions[0].tolist() == [[1, 1, 0], [2, 1, 0]]
    assert ranking.n_features.tolist() == [2, 3]


def test_one_number_in_two_tensors_is_one_feature():
    credits = (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.4]]))
    masks = (torch.tensor([[0, 1]]), torch.tensor([[0]]))
    first, second = rank(credits, feature_mask=masks).positions
    assert (first.tolist(), second.tolist()) == ([[0, 1]], [[0]])


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_a_batch_rank_as_those_of_its_examples(seed):
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator}
    # Few values, so that many groups are equal, and numbers that examples share only in part.
    credit = torch.randint(3, (6, 2, 4, 5), **draw).float()
    mask = torch.randint(-3, 9, (6, 2, 4, 5), **draw) * torch.randint(1, 4, (6, 1, 1, 1), **draw)
    together = rank((credit,), feature_mask=mask, seed=seed)
    for i in range(6):
        alone = rank((credit[[i]],), feature_mask=mask[[i]], seed=seed)
        assert torch.equal(together.positions[0][[i]], alone.positions[0])
        assert torch.equal(together.n_features[[i]], alone.n_features)


def test_nan_ranks_last_and_does_not_disturb_the_rest():
    assert rank((torch.tensor([[torch.nan, 1.0, -5.0]]),)).positions[0].tolist() == [[2, 0, 1]]


def test_bad_arguments_are_named():
    credit = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"`reduction`.*'sum', 'abs_sum'.*got 'max'"):
        rank((credit,), reduction="max")
    with pytest.raises(TypeError, match=r"`feature_mask`.*got torch.float32"):
        rank((credit,), feature_mask=credit)
    with pytest.raises(ValueError, match=r"`feature_mask`.*\(2, 3\).*got \(1, 4\)"):
        rank((credit,), feature_mask=torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`feature_mask`.*got 2 for 1"):
        rank((credit,), feature_mask=(torch.zeros(1, 3).long(),) * 2)
