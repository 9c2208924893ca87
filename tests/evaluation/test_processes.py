"""Several processes give what one gives."""

import pickle
import socket

import pytest
import torch
import torch.distributed as dist

from captum_ext.evaluation import evaluate
from tests import processes
from tests.conftest import small_net
from tests.evaluation.conftest import data, methods, metrics, without_time


def work(rank, size, port, folder, out, n, dies):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size
    )
    net = small_net()

    def progress(label, done, total):
        if dies and rank == 1 and done:
            raise SystemExit(3)

    found = evaluate(
        net, data(n), methods(net), metrics(net), batch_size=2, seed=0, out=out, progress=progress
    )
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(summary(found)))
    dist.destroy_process_group()


def summary(found):
    return without_time(found.records), without_time(found.per_example)


def spawn(size, folder, out=None, n=7, dies=False):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.together(work, (size, port, folder, out, n, dies), size)
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(size)]


def alone(n=7):
    net = small_net()
    return summary(evaluate(net, data(n), methods(net), metrics(net), batch_size=2, seed=0))


@pytest.mark.parametrize(("size", "n"), [(2, 7), (3, 3)])
def test_every_process_returns_what_one_alone_does(size, n, tmp_path):
    # With 3 images in groups of 2, the third process has nothing to do.
    assert spawn(size, tmp_path, n=n) == [alone(n)] * size


def test_a_process_that_dies_ends_the_job_and_another_number_goes_on(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Exception, match=r"terminated|exit"):
        spawn(2, tmp_path, out, dies=True)
    assert list(out.glob("part-*.sqlite"))
    net = small_net()
    again = evaluate(net, data(7), methods(net), metrics(net), batch_size=2, seed=0, out=out)
    assert summary(again) == alone()
