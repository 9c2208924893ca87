"""Each piece of an optimized mask against its formula in plain loops."""

import math
from contextlib import closing

import pytest
import torch
from torch import Tensor

from captum_ext.mask import (
    L1,
    TV,
    BilateralTV,
    DeletionTerm,
    EdgeTV,
    FeatureGroups,
    Gradient,
    InsertionTerm,
    IntegratedGradient,
    MaskGrid,
    Noise,
    blurred,
)
from captum_ext.mask.advanced import MaskProblem, PublishedL1
from captum_ext.score import Score


@pytest.fixture
def mask() -> Tensor:
    return torch.rand(2, 1, 4, 3, generator=torch.Generator().manual_seed(2))


def loops(mask: Tensor, penalty, down: float = 1.0, right: float = 1.0) -> float:
    """Mean over vertical plus mean over horizontal neighbors of a penalty of positions, scaled."""
    height, width = mask.shape
    rows = [penalty((i, j), (i + 1, j)) for i in range(height - 1) for j in range(width)]
    columns = [penalty((i, j), (i, j + 1)) for i in range(height) for j in range(width - 1)]
    return down * sum(rows) / len(rows) + right * sum(columns) / len(columns)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("exponent", [2.0, 3.0])
def test_total_variation_is_its_formula(mask, exponent, scaled):
    scales = (3 / 27, 2 / 27) if scaled else (1, 1)
    expected = [
        5 * loops(m[0], lambda a, b, m=m[0]: float((m[b] - m[a]).abs()) ** exponent, *scales)
        for m in mask
    ]
    torch.testing.assert_close(TV(5.0, exponent, scaled)((mask,), ()), torch.tensor(expected))


@pytest.mark.parametrize("piece", [TV(), BilateralTV(), EdgeTV()], ids=lambda p: type(p).__name__)
def test_a_shape_costs_the_same_at_every_mask_size(piece):
    image = torch.zeros(1, 3, 224, 224)

    def square(size: int) -> Tensor:
        mask = torch.ones(1, 1, size, size)
        mask[..., size // 7 : 4 * size // 7, 2 * size // 7 : 5 * size // 7] = 0
        return mask

    costs = torch.cat([piece((square(size),), (image,)) for size in (7, 28, 112, 224)])
    # Enlarged cells do not end at pixels, so that their outlines are rounder than their own size's.
    rtol = 1e-5 if piece == TV() else 0.25
    torch.testing.assert_close(costs, costs[1].expand(4), rtol=rtol, atol=0)
    plain = TV(scaled=False)
    assert plain((square(7),), ()) > 4 * plain((square(28),), ()) > 16 * plain((square(224),), ())


@pytest.mark.parametrize("size", [7, 28, (14, 56), 112])
def test_edge_variation_costs_on_a_flat_image_what_total_variation_does(size):
    stripe = torch.ones(1, 1, *((size, size) if isinstance(size, int) else size))
    stripe[..., stripe.shape[-1] // 2 :] = 0
    flat = torch.zeros(1, 3, 224, 224)
    share = EdgeTV()((stripe,), (flat,)) / TV()((stripe,), ())
    assert 0.7 < share <= 1 + 1e-6


def test_l1_is_its_formula_and_costs_at_ones_what_it_costs_elsewhere(mask):
    expected = [3 * sum(abs(1 - v) for v in m.flatten().tolist()) / 12 for m in mask]
    torch.testing.assert_close(L1(3.0)((mask,), ()), torch.tensor(expected))
    torch.testing.assert_close(PublishedL1(3.0)((mask,), ()), torch.tensor(expected))
    ones = torch.ones(1, 1, 2, 2, requires_grad=True)
    (ours,) = torch.autograd.grad(L1()((ones,), ()).sum(), ones)
    torch.testing.assert_close(ours, torch.full_like(ones, -0.25))
    assert not torch.autograd.grad(PublishedL1()((ones,), ()).sum(), ones)[0].any()


@pytest.mark.parametrize(("side", "weight"), [(28, 1.0), (224, 10.0)])
def test_published_weight_of_l1_is_the_papers_at_each_size(side, weight):
    torch.testing.assert_close(
        PublishedL1()((torch.zeros(1, 1, side, side),), ()), torch.tensor([weight])
    )


@pytest.mark.parametrize("relative", [False, True])
def test_edge_variation_is_its_formula(mask, relative):
    images = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(4)) / 4
    enlarged = MaskGrid((4, 3)).enlarge(mask.flatten(1), (images,))[0]
    expected = []
    for n in range(2):
        sigma = 0.5 * (float(images[n].var(correction=0)) if relative else 1.0)

        def edge(a, b, n=n, sigma=sigma):
            squared = [float(channel[b] - channel[a]) ** 2 for channel in images[n]]
            step = float(enlarged[n, 0][b] - enlarged[n, 0][a])
            return math.exp(-sum(squared) / 3 / sigma) * step**2

        expected.append(7 * loops(enlarged[n, 0], edge, 5 * 5 / 3 / 27, 4 * 4 / 2 / 27))
    found = EdgeTV(7.0, 0.5, relative)((mask,), (images,))
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("relative", [False, True])
def test_bilateral_variation_is_its_formula(mask, relative):
    images = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(4)) / 4
    enlarged = MaskGrid((4, 3)).enlarge(mask.flatten(1), (images,))[0]
    expected = []
    for n in range(2):
        sigma = 0.5 * (float(images[n].var(correction=0)) if relative else 1.0)

        def edge(a, b, n=n, sigma=sigma):
            squared = [float(channel[b] - channel[a]) ** 2 for channel in images[n]]
            step = float(enlarged[n, 0][b] - enlarged[n, 0][a])
            return math.exp(-sum(squared) / 3 / sigma) * step**2

        def plain(a, b, n=n):
            return float(mask[n, 0][b] - mask[n, 0][a]) ** 2

        plain_half = loops(mask[n, 0], plain, 3 / 27, 2 / 27)
        expected.append(7 * (plain_half + loops(enlarged[n, 0], edge, 27 / 3, 27 / 2)) / 2)
    found = BilateralTV(7.0, 0.5, relative)((mask,), (images,))
    torch.testing.assert_close(found, torch.tensor(expected))


def test_bilateral_variation_is_lower_along_the_images_edges():
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1
    along, across = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    along[..., 4:], across[..., 4:, :] = 0, 0
    penalty = BilateralTV(1.0)
    assert penalty((along,), (image,)) < 0.6 * penalty((across,), (image,))
    turned = penalty((across,), (image.mT,))
    torch.testing.assert_close(penalty((along,), (image,)), turned)


def test_bilateral_variation_does_not_depend_on_the_images_units(mask):
    images = torch.rand(2, 3, 6, 5)
    penalty = BilateralTV(1.0)
    torch.testing.assert_close(
        penalty((mask,), (images,)), penalty((mask,), (7 * images - 3,)), rtol=1e-4, atol=0
    )


def objective_of(model, images, noise: Noise, size=4, chunk=None) -> MaskProblem:
    terms = (DeletionTerm((0,)), InsertionTerm((1,)), DeletionTerm((0, 1)), InsertionTerm((0, 1)))
    score = Score(model, (images,), target=1, chunk=chunk)
    regularizers = (L1(0.7), BilateralTV(3.0))
    return MaskProblem(
        score, (images,), (blurred(images),), MaskGrid(size), terms, regularizers, noise
    )


@pytest.mark.parametrize("chunk", [3, 1000])
def test_the_objective_of_igospp_is_its_formula(model, images, chunk):
    problem = objective_of(model, images, Noise(0.3), chunk=chunk)
    masks = torch.rand(3, 2, 16, generator=torch.Generator().manual_seed(5))
    sample = problem.sample(IntegratedGradient().fractions(5), 11)
    found = problem.value(masks, torch.arange(3), sample)
    expected = []
    for n in range(3):
        x, reference = images[n : n + 1], blurred(images[n : n + 1])
        up = [MaskGrid(4).enlarge(masks[n : n + 1, i], (x,))[0] for i in (0, 1)]
        scores = torch.zeros(4)
        for s in range(1, 6):
            noise = sample.noise[0][0, s - 1] * x.std(correction=0)
            for t, m in enumerate((up[0], up[1], up[0] * up[1], up[0] * up[1])):
                kept, dropped = (x, reference) if t % 2 == 0 else (reference, x)
                seen = kept * (s / 5 * m) + dropped * (1 - s / 5 * m) + noise
                scores[t] += model(seen)[0, 1].detach() / 5
        product = (masks[n, 0] * masks[n, 1]).view(1, 1, 4, 4)
        smooth = L1(0.7)((product,), (x,)) + BilateralTV(3.0)((product,), (x,))
        expected.append(scores[0] - scores[1] + scores[2] - scores[3] + smooth[0])
    torch.testing.assert_close(found.float(), torch.stack(expected))


@pytest.mark.parametrize("direction", [Gradient(), IntegratedGradient()])
def test_the_gradient_is_that_of_the_objective(direction, model, images):
    model, images = model.double(), images.double()
    problem = objective_of(model, images, Noise(0.3))
    masks = torch.rand(3, 2, 16, dtype=torch.float64).clamp(0.1, 0.9)
    rows, sample = torch.arange(3), problem.sample(direction.fractions(3), 0)
    here = direction(problem, masks, rows, sample)
    torch.testing.assert_close(here.value, problem.value(masks, rows, sample))
    way = torch.randn(3, 2, 16, dtype=torch.float64)
    ahead, behind = (problem.value(masks + h * way, rows, sample) for h in (1e-5, -1e-5))
    slope = (here.gradient * way).sum((1, 2))
    torch.testing.assert_close((ahead - behind) / 2e-5, slope, rtol=1e-4, atol=1e-6)


def test_the_direction_at_ones_is_the_objectives_slope_away_from_them(model, images):
    problem = objective_of(model.double(), images.double(), Noise(0.3))
    masks, rows = torch.ones(3, 2, 16, dtype=torch.float64), torch.arange(3)
    sample = problem.sample(IntegratedGradient().fractions(3), 0)
    here = IntegratedGradient()(problem, masks, rows, sample)
    away = -torch.rand(3, 2, 16, dtype=torch.float64)
    rise = problem.value(masks + 1e-6 * away, rows, sample) - here.value
    torch.testing.assert_close(rise / 1e-6, (here.gradient * away).sum((1, 2)), rtol=1e-4, atol=0)


def test_rows_say_whose_mask_each_is(model, images):
    problem = objective_of(model, images, Noise(0.3))
    masks, sample = torch.rand(3, 2, 16), problem.sample([0.5, 1.0], 0)
    everyone = problem.value(masks, torch.arange(3), sample)
    some = problem.value(masks[[2, 0]], torch.tensor([2, 0]), sample)
    torch.testing.assert_close(some, everyone[[2, 0]])


def test_fresh_noise_differs_between_terms_and_common_noise_does_not(model, images):
    fresh = objective_of(model, images, Noise(0.3, fresh=True)).sample([1.0], 0).noise[0]
    common = objective_of(model, images, Noise(0.3)).sample([1.0], 0).noise[0]
    assert fresh.shape[0] == 4
    assert not torch.equal(fresh[0], fresh[1])
    assert common.shape[0] == 1


@pytest.mark.parametrize("most", [1, 4, 100])
def test_samples_begun_ahead_are_those_of_their_keys(most, model, images):
    problem = objective_of(model, images, Noise(0.3))
    rising = [(3, k, *trial) for k in range(9) for trial in ((), (1,))]
    with closing(problem.samples([0.5, 1.0])) as samples:
        samples._most = lambda: min(samples._block, most)
        for here, keys in enumerate(rising):
            # Some are passed over, as trials are where a search ends early.
            if here in (4, 5, 11):
                continue
            found = samples(*keys)
            samples.ahead(rising[here + 1 :])
            assert torch.equal(found.noise[0], problem.sample([0.5, 1.0], *keys).noise[0])


@pytest.mark.parametrize(
    ("most", "n_drawn"), [(1, [1] * 15), (100, [1, 1, 2, 4, 7]), (3, [1, 1, 2, 3, 3, 3, 2])]
)
def test_blocks_of_samples_double_up_to_the_most(most, n_drawn, model, images):
    drawn = []
    problem = objective_of(model, images, Noise(0.3))
    rising = [(3, k) for k in range(15)]
    with closing(problem.samples([0.5, 1.0])) as samples:
        samples._most = lambda: min(samples._block, most)
        draw = samples._draw
        samples._draw = lambda block: drawn.append(len(block)) or draw(block)
        for here, keys in enumerate(rising):
            samples(*keys)
            samples.ahead(rising[here + 1 :])
    assert drawn == n_drawn


def test_trials_that_no_search_had_before_come_in_blocks_that_double(model, images):
    drawn = []
    problem = objective_of(model, images, Noise(0.3, fresh=True))
    # As in a search of 15 trials after one of 3, while the next iteration's is on its way.
    with closing(problem.samples([0.5, 1.0])) as samples:
        samples._fitting = lambda: 100
        draw = samples._draw
        samples._draw = lambda block: drawn.append(len(block)) or draw(block)
        samples.ahead([(3, 8), (3, 8, 1)])
        for trial in range(4, 19):
            beside = [(3, 7, trial + after) for after in range(1, trial - 3)]
            found = samples(3, 7, trial, beside=beside)
            wanted = problem.sample([0.5, 1.0], 3, 7, trial).noise[0]
            assert torch.equal(found.noise[0], wanted)
        assert torch.equal(samples(3, 8).noise[0], problem.sample([0.5, 1.0], 3, 8).noise[0])
    assert sorted(drawn) == [1, 1, 2, 4, 8]


def test_groups_are_renumbered_without_gaps_each_examples_alone():
    numbers = torch.tensor([[9, 4, 9], [1, 2, 3]])
    groups = FeatureGroups.checked(numbers, (torch.zeros(2, 3),))
    assert groups.feature_mask[0].tolist() == [[1, 0, 1], [0, 1, 2]]
    assert groups.counts((torch.zeros(2, 3),)).tolist() == [2, 3]


def test_groups_of_all_examples_are_renumbered_without_gaps():
    groups = FeatureGroups.checked(torch.tensor([[9, 4, 9]]), (torch.zeros(2, 3),))
    assert groups.count(()) == 2
    cells = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    (spread,) = groups.enlarge(cells, ())
    torch.testing.assert_close(spread, torch.tensor([[0.2, 0.1, 0.2], [0.4, 0.3, 0.4]]))


def test_the_reference_keeps_colors_and_loses_detail():
    images = torch.rand(2, 3, 80, 60)
    reference = blurred(images)
    assert reference.std((2, 3)).max() < 0.1 * images.std((2, 3)).min()
    torch.testing.assert_close(reference.mean((2, 3)), images.mean((2, 3)), atol=0.02, rtol=0)
    flat = torch.full((1, 3, 9, 2), 0.3)
    torch.testing.assert_close(blurred(flat), flat)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match=r"`noise_std`.*got -1"):
        Noise(-1.0)
