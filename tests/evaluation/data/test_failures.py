"""What fails for all stops the run and is gone on with; what is an example's own is left out."""

import errno
import functools
import math
import os
import types

import pytest
import torch
from captum.attr import Saliency

from captum_ext.evaluation import evaluate, write_report
from captum_ext.evaluation.data.failures import RunStoppedError, stop_unless_its_own
from captum_ext.evaluation.export import plain
from captum_ext.evaluation.store.folder import OtherRunError
from captum_ext.metrics import Insertion, Localization
from tests.conftest import small_net
from tests.evaluation.conftest import data, methods, metrics, without_time

PASSING = {
    "device": RuntimeError("CUDA error: device-side assert triggered"),
    "library": RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    "memory": MemoryError(),
    "device memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "host memory": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "disk": OSError(errno.EIO, "Input/output error"),
    "server": OSError(errno.ESTALE, "Stale file handle"),
    "many files": OSError(errno.EMFILE, "Too many open files"),
    "network": TimeoutError("timed out"),
}


def run(net, items, out, how=None, what=None, **options):
    given = {"batch_size": 2, "seed": 0, "out": out, **options}
    return evaluate(net, items, how or methods(net), what or metrics(net), **given)


class Faulty:
    """Calls something, but raises at the k-th time."""

    def __init__(self, inner, error, k):
        self.inner, self.error, self.left = inner, error, k

    def __call__(self, *args, **kwargs):
        if self.left == 0:
            raise self.error
        self.left -= 1
        return self.inner(*args, **kwargs)


class Items(list):
    """Data whose examples come through a function."""

    def __getitem__(self, index):
        return self.read(index) if hasattr(self, "read") else super().__getitem__(index)


@pytest.mark.parametrize("place", ["data", "model", "method", "metric"])
@pytest.mark.parametrize("kind", PASSING)
def test_a_passing_failure_stops_and_the_run_goes_on_to_the_same_numbers(
    kind, place, tmp_path, monkeypatch
):
    whole = run(small_net(), data(), None)
    net, items, k = small_net(), Items(data()), 3
    with monkeypatch.context() as patch:
        if place == "data":
            items.read = Faulty(data().__getitem__, PASSING[kind], k)
        else:
            owner, name = {"model": (torch.nn.Softmax, "forward"),
                           "method": (Saliency, "attribute"),
                           "metric": (Insertion, "update")}[place]  # fmt: skip
            real = getattr(owner, name)
            faulty = Faulty(real, PASSING[kind], {"method": 1}.get(place, k))
            made = lambda *a, **o: faulty(*a, **o)  # noqa: E731
            # Without the globals of this file, whose function would make it another run.
            made = types.FunctionType(made.__code__, {}, closure=made.__closure__)
            patch.setattr(owner, name, functools.wraps(real)(made))
        with pytest.raises((RunStoppedError, MemoryError, torch.OutOfMemoryError)) as caught:
            run(net, items, tmp_path)
    if caught.type is RunStoppedError:
        assert "what is done is kept; run the same again" in str(caught.value)
    found = run(net, data(), tmp_path)
    assert without_time(found.per_example) == without_time(whole.per_example)
    assert found.excluded == whole.excluded


class Files:
    """Images in files; a missing one raises what the system says."""

    def __init__(self, folder, n=6):
        self.folder, self.n = folder, n

    def __len__(self):
        return self.n

    def __getitem__(self, k):
        return torch.load(self.folder / f"{k}.pt"), k % 5


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k, (image, _) in enumerate(data(6)):
        torch.save(image, folder / f"{k}.pt")
    return Files(folder)


def test_a_folder_that_is_gone_stops_the_run(files, tmp_path):
    whole = run(small_net(), files, None)
    away = tmp_path / "away"

    def unmount(label, done, total):
        if done == 2:
            files.folder.rename(away)

    with pytest.raises(RunStoppedError, match=r"example \d, as .*No such file"):
        run(small_net(), files, tmp_path / "out", progress=unmount)
    with pytest.raises(RunStoppedError):
        run(small_net(), files, tmp_path / "out")
    files.folder.mkdir()
    with pytest.raises(RunStoppedError):
        run(small_net(), files, tmp_path / "out")
    files.folder.rmdir()
    away.rename(files.folder)
    found = run(small_net(), files, tmp_path / "out")
    assert without_time(found.per_example) == without_time(whole.per_example)


@pytest.mark.parametrize("left", [lambda file: file.unlink(), lambda file: file.write_bytes(b"x")])
def test_one_file_that_can_not_be_read_is_tried_again(left, files, tmp_path):
    whole = run(small_net(), files, None)
    content = (files.folder / "3.pt").read_bytes()
    left(files.folder / "3.pt")
    for _ in range(2):
        found = run(small_net(), files, tmp_path / "out")
        assert [e["example"] for e in found.excluded] == ["3"]
    (files.folder / "3.pt").write_bytes(content)
    found = run(small_net(), files, tmp_path / "out")
    assert found.excluded == whole.excluded
    assert without_time(found.per_example) == without_time(whole.per_example)


def test_an_example_that_was_read_and_is_gone_stops_the_run(files, tmp_path):
    run(small_net(), files, tmp_path / "out")
    os.unlink(files.folder / "1.pt")
    with pytest.raises(RunStoppedError, match="example 1 can't be read any more"):
        run(small_net(), files, tmp_path / "out")


@pytest.mark.parametrize("error", [
    ValueError("odd"), RuntimeError("shapes"), AssertionError(), KeyError("a"), IndexError("i"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), OSError("image file is truncated"),
    NotImplementedError("no kernel"), ZeroDivisionError("0"),
])  # fmt: skip
def test_what_is_an_examples_own_is_left_out_with_its_reason(error, tmp_path):
    items = Items(data())
    items.read = Faulty(data().__getitem__, error, 2)
    stop_unless_its_own(error, "here")
    found = run(small_net(), items, None)
    assert {e["example"] for e in found.excluded} == {"2", "3", "4"}
    assert all(e["reason"] for e in found.excluded)


def test_data_that_comes_by_itself_is_compared_as_it_comes(tmp_path):
    net = small_net()
    first = run(net, iter(data()), tmp_path)
    assert plain(run(net, iter(data()), tmp_path).records) == plain(first.records)
    changed = data()
    changed[3][0][0, 0, 0] += 0.01
    for other, words in (
        (changed, "the image of example 3 has changed"),
        (data(4), "there were more examples|not as many"),
        (data(6), "not as many"),
        (data(2), "there were more examples"),
    ):
        with pytest.raises(OtherRunError, match=words):
            run(net, iter(other), tmp_path)


def test_a_plain_function_has_tables_and_a_page(tmp_path):
    net = small_net()

    def model(x):
        return net(x)

    how, what = {"gradient": Saliency(model)}, {"insertion": Insertion(model, n_steps=3)}
    for _ in range(2):
        found = run(model, data(), tmp_path, how, what)
        assert math.isnan(found.records[0]["forwards"])
        assert found.records[0]["seconds"] > 0
        write_report(found, tmp_path / "page.html")
        found.to_json(tmp_path / "all.json")
        assert len(found.table) == 1


def test_a_picture_or_a_state_that_can_not_be_kept_loses_nothing_else(tmp_path, monkeypatch):
    net = small_net()
    whole = run(net, data(), None)

    def broken(*_):
        raise RuntimeError("no picture")

    monkeypatch.setattr("captum_ext.evaluation.run.thumbnail", broken)
    monkeypatch.setattr("captum_ext.evaluation.run.map_thumbnail", broken)
    found = run(net, data(), tmp_path)
    assert without_time(found.per_example) == without_time(whole.per_example)

    class Odd(Localization):
        def update(self, attributions, masks=None):
            self.codes.append("no tensor")

    found = run(net, data(), None, what={**metrics(net), "odd": Odd()})
    reasons = {e["metric"] for e in found.excluded if e["example"] == "0"}
    assert reasons == {"odd"}
    assert found.values["insertion"]["ig"].isfinite().all()


def exported():
    net = small_net()
    return torch.export.export(net, (torch.zeros(1, 3, 20, 16),))


def test_exported_models_work_as_modules_and_are_refused_as_programs(tmp_path):
    program = exported()
    with pytest.raises(TypeError, match=r"an exported program: give its `.module\(\)`"):
        run(program, data(), None, {"gradient": Saliency(small_net())})
    for _ in range(2):
        model = exported().module()
        how, what = {"gradient": Saliency(model)}, {"insertion": Insertion(
            model, n_steps=2, internal_batch_size=1)}  # fmt: skip
        found = run(model, data(2), tmp_path, how, what, batch_size=1)
        assert found.excluded == []


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            (torch.zeros(3, 8, 8), torch.full((5,), 2)),
            r"a vector of 0 and 1, or as a list.*a vector of 5",
        ),
        ((torch.zeros(3, 8, 8), 1, "a.png"), "third entry.*is str: leave it out.*`names`"),
        ((torch.zeros(3, 8, 8), 1, object()), "third entry.*give a tensor"),
        ((torch.zeros(3, 8, 8), "cat"), "the number of a class.*'cat'"),
        ((torch.zeros(3, 8, 8), 0.5), "the number of a class"),
        ("a.png", r"is \(str\): read files first"),
        ((torch.zeros(3, 8, 8),), "item 0"),
    ],
)
@pytest.mark.parametrize("wrap", [list, iter])
def test_items_that_do_not_fit_get_a_sentence(item, words, wrap):
    with pytest.raises(TypeError, match=words):
        run(small_net(), wrap([item]), None)
