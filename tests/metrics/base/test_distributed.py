"""Two processes over gloo give what one does, with uneven shards and an empty rank."""

import socket

import torch
from captum.attr import Saliency
from torch import distributed, nn

from captum_ext.metrics import (
    AIC,
    SIC,
    Insertion,
    Localization,
    ParameterRandomization,
    information_metrics,
)
from tests import processes

# How many of the 8 examples the first process sees: uneven shards, and an empty rank.
CUTS = (5, 8)


def net(images):
    bright = images[:, :, :8].mean((1, 2, 3))
    return torch.stack([bright, 1 - bright], 1)


def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 16, 16, generator=generator)
    images[:, :, :8] = 0.8 + 0.2 * images[:, :, :8]
    maps = torch.rand(8, 3, 16, 16, generator=generator)
    maps[1, 0, 0, 0], maps[7] = torch.nan, -1.0
    return images, maps


def reasons_of(metric):
    """`undefined` as numbers."""
    return torch.tensor([[len(reason) for reason in row] for row in metric.undefined.values()])


def summaries(part):
    """Everything that gathers, over the examples of a shard."""
    images, maps = (tensor[part] for tensor in data())
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.Tanh(), nn.Linear(4, 2))
    easy = {"min_score": 0.0}
    metrics = [
        Insertion(net, n_steps=2),
        AIC(net, "ms_ssim"),
        SIC.from_preset(net, "tmlr", level="entropy", **easy),
        SIC.from_preset(net, "xrai", level="ms_ssim", **easy),
    ]
    found, localizer = [], Localization()
    check = ParameterRandomization(Saliency, similarity=["spearman"])
    group = information_metrics(net)
    if len(images):
        for metric in (*metrics, group):
            metric.update(images, maps, target=0)
        localizer.update(maps, images.mean(1) > 0.7)
        check.update(layers, images, target=0)
    for metric in metrics:
        found += [metric.compute(), metric.curve().y, *metric.interval(n_samples=20)]
        found.append(torch.tensor(metric.n_excluded))
    found += [metrics[0].per_example, metrics[3].per_example]
    found += [*localizer.compute().values(), *check.by_stage().values()]
    found += [reasons_of(one) for one in (*metrics, localizer, check)]
    return [value.cpu() for value in (*found, *group.compute().values())]


def work(rank, port, expected):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    for cut in CUTS:
        found = summaries(slice(0, cut) if rank == 0 else slice(cut, 8))
        for made, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(made, wanted, rtol=0, atol=1e-6, equal_nan=True)
    # Together: under torch 2.6 one left alone in the next call was seen to wait without an end.
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_processes_give_the_value_of_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A failed process raises here, with its traceback.
    processes.together(work, (port, summaries(slice(0, 8))), 2)
