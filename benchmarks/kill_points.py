"""Kills `evaluate` at every call that writes to its folder, and sees whether it goes on rightly.

A run of one process, and each of two, is killed with SIGKILL before every system call by which it
changes a file (writes, syncs, truncations, new names, removals), and in the middle of every write.
Afterwards the same is run again, with as many processes or with one, and must end with the numbers
of a run that nothing disturbed. Needs Linux and a C compiler (`cc`); where there is none, kills
come before every statement of SQL and every rename instead.

    python benchmarks/kill_points.py [--points N]
"""

from __future__ import annotations

import argparse
import ctypes
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
static char watched[PATH_MAX];
static long kill_at = -1, calls = 0;
static int torn = 0;
void arm(const char *folder, long at, int half) {
    strncpy(watched, folder, PATH_MAX - 1); kill_at = at; torn = half; calls = 0;
}
long counted(void) { return calls; }
static int inside(const char *path) {
    return watched[0] && path && !strncmp(path, watched, strlen(watched));
}
static int holds(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = watched[0] ? readlink(link, path, PATH_MAX - 1) : -1;
    if (n < 0) return 0;
    path[n] = 0;
    return inside(path);
}
static int due(int mine) { return mine && calls++ == kill_at; }
static void die(void) { raise(SIGKILL); }
#define REAL(name) __typeof__(name) *real = dlsym(RTLD_NEXT, #name)
ssize_t write(int fd, const void *data, size_t n) {
    REAL(write);
    if (due(holds(fd))) { if (torn) real(fd, data, n / 2); die(); }
    return real(fd, data, n);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(pwrite64);
    if (due(holds(fd))) { if (torn) real(fd, data, n / 2, at); die(); }
    return real(fd, data, n, at);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }
#define OF_FD(name) \
    int name(int fd) { REAL(name); if (due(holds(fd))) die(); return real(fd); }
OF_FD(fsync)
OF_FD(fdatasync)
int ftruncate64(int fd, off64_t n) {
    REAL(ftruncate64); if (due(holds(fd))) die(); return real(fd, n);
}
int ftruncate(int fd, off_t n) { return ftruncate64(fd, n); }
int unlink(const char *path) { REAL(unlink); if (due(inside(path))) die(); return real(path); }
int rename(const char *from, const char *to) {
    REAL(rename); if (due(inside(from))) die(); return real(from, to);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir); if (due(inside(path))) die(); return real(path, mode);
}
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); \
        va_end(rest); \
        if (due((flags & O_CREAT) && inside(path))) die(); \
        return real(path, flags, mode); }
OPEN(open)
OPEN(open64)
int openat(int at, const char *path, int flags, ...) {
    REAL(openat); va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest);
    if (due((flags & O_CREAT) && inside(path))) die();
    return real(at, path, flags, mode);
}
"""


class Calls:
    """Counts the calls that write into a folder, and kills at one of them: compiled, or not."""

    def __init__(self) -> None:
        self.library = None
        if "KILL_POINTS_SHIM" in os.environ:
            self.library = ctypes.CDLL(os.environ["KILL_POINTS_SHIM"])
        self.n = 0

    def arm(self, folder: Path, at: int, torn: bool) -> None:
        if self.library is not None:
            self.library.arm(str(folder).encode(), ctypes.c_long(at), int(torn))
            return

        def count(*_: object) -> None:
            if self.n == at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.n += 1

        connect, replace = sqlite3.connect, os.replace

        def connected(*args: object, **options: object) -> sqlite3.Connection:
            connection = connect(*args, **options)
            connection.set_trace_callback(count)
            return connection

        def replaced(*args: object) -> None:
            count()
            replace(*args)

        sqlite3.connect, os.replace = connected, replaced

    def counted(self) -> int:
        return self.n if self.library is None else int(self.library.counted())


def with_shim() -> None:
    """Starts this script again with the counting calls in front of the C library's."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or "KILL_POINTS_SHIM" in os.environ or sys.platform != "linux":
        return
    folder = Path(tempfile.mkdtemp())
    (folder / "shim.c").write_text(SHIM)
    shim = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", shim, folder / "shim.c", "-ldl"],
                   check=True)  # fmt: skip
    added = {"LD_PRELOAD": str(shim), "KILL_POINTS_SHIM": str(shim), "OMP_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **added})


def work(rank: int, size: int, place: Path, at: int | None, torn: bool) -> None:
    """One process of a run; rank 0 writes what it found, and a file of results."""
    import torch.distributed as dist

    if size > 1:
        store = dist.FileStore(str(place / "store"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    calls = Calls()
    if at is not None:
        calls.arm(place / "out", at, torn)
    found = evaluated(place / "out")
    if rank == 0:
        from captum_ext.evaluation.store.folder import ResultFolder

        with ResultFolder(place / "out").write("results.json") as file:
            found.to_json(file)
    # Of each process, and before anything else is written.
    (place / f"calls-{rank}").write_text(str(calls.counted()))
    records = [{k: v for k, v in r.items() if k != "seconds"} for r in found.per_example]
    (place / f"found-{rank}").write_bytes(pickle.dumps(records))


def evaluated(out: Path):
    """A run of three groups under two methods that take no gradient."""
    import torch
    from captum.attr import FeatureAblation, Occlusion

    from captum_ext.attr import Configured
    from captum_ext.evaluation import evaluate
    from captum_ext.metrics import Deletion

    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "no interval")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
                              torch.nn.Linear(64, 3), torch.nn.Softmax(1)).eval()  # fmt: skip
    data = [(torch.rand(3, 6, 6), k % 3) for k in range(5)]
    methods = {
        "occlusion": Configured(Occlusion(net), sliding_window_shapes=(3, 2, 2), strides=2),
        "ablation": FeatureAblation(net),
    }
    return evaluate(net, data, methods, {"deletion": Deletion(net, n_steps=3)},
                    batch_size=2, seed=0, out=out)  # fmt: skip


def run(size: int, place: Path, rank: int | None = None, at: int = -1, torn: bool = False) -> bool:
    """Runs in processes of their own; whether all ended well."""
    for left in ("store", "found-0"):
        (place / left).unlink(missing_ok=True)
    children = []
    for number in range(size):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(number, size, place, at if number == rank else None, torn)
                code = 0
            except BaseException as error:
                if rank is None or number == rank:
                    print(f"  rank {number} of {size}: {type(error).__name__}: {error}")
            finally:
                sys.stdout.flush()
                os._exit(code)
        children.append(child)
    return all(os.waitpid(child, 0)[1] == 0 for child in children)


def main() -> int:
    """Prints a line per way of running; the exit code says whether all went on rightly."""
    with_shim()
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--points", type=int, help="at most so many of each way (default: all)")
    most = options.parse_args().points
    # Once, before processes are forked.
    import captum_ext.evaluation  # noqa: F401

    top = Path(tempfile.mkdtemp())
    assert run(1, top)
    whole = (top / "found-0").read_bytes()
    n_bad = n_all = 0
    for size, rank in ((1, 0), (2, 0), (2, 1)):
        place = Path(tempfile.mkdtemp())
        assert run(size, place, rank)
        n = int((place / f"calls-{rank}").read_text())
        ways = [(at, torn) for at in range(n) for torn in (False, True)]
        step = max(1, len(ways) // most) if most else 1
        ways = ways[step // 2 :: step]
        bad = [point for point in ways if not goes_on(size, rank, point, whole)]
        n_bad, n_all = n_bad + len(bad), n_all + len(ways)
        print(f"rank {rank} of {size}: {n} calls, {len(ways)} kills, "
              f"{len(bad)} that do not go on rightly {bad}")  # fmt: skip
    print(f"{n_bad} of {n_all}")
    return int(n_bad > 0)


def goes_on(size: int, rank: int, point: tuple[int, bool], whole: bytes) -> bool:
    """Whether a run killed at a point ends with the numbers of one that was not."""
    place = Path(tempfile.mkdtemp())
    run(size, place, rank, *point)
    again = size if point[0] % 2 else 1
    well = run(again, place) and (place / "found-0").read_bytes() == whole
    left = [p.name for p in (place / "out").iterdir() if p.name.startswith("part-")]
    well = well and not [name for name in left if "damaged" in name]
    shutil.rmtree(place)
    return well


if __name__ == "__main__":
    raise SystemExit(main())
