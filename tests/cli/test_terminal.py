"""One bar at a time on a terminal, which leaves nothing; whole lines in a file."""

import fcntl
import os
import pty
import re
import struct
import termios
from contextlib import contextmanager, redirect_stderr, suppress

from captum_ext._progress import Work
from captum_ext.cli import errors
from tests.cli.conftest import explain, sanity


@contextmanager
def terminal():
    """Within, stderr is a terminal of 80 columns; gives a list that holds what was written."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    found = []
    with os.fdopen(theirs, "w", buffering=1) as stream, redirect_stderr(stream):
        yield found
    parts = []
    # One read gives what has arrived so far; the end, with no writer left, is an error.
    with suppress(OSError):
        while part := os.read(ours, 1 << 16):
            parts.append(part)
    found.append(b"".join(parts).decode().replace("\r\n", "\n"))
    os.close(ours)


def screen(text):
    """The lines that stand there at the end, without spaces behind."""
    lines = []
    for line in text.split("\n"):
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        lines.append(seen.rstrip())
    return lines


def test_a_bar_has_total_unit_and_rest_and_goes_away():
    with terminal() as found, Work(6, "map", "IG, IDGI (IG), and others") as work:
        work.update(2)
        work._bar.refresh()
        errors.say("a remark " * 12)
        work.begin("RISE")
        work.tell("310 evaluations")
        work._bar.refresh()
        work.close()
    frames = [f for f in re.split("[\r\n]", found[0]) if "|" in f]
    assert all(len(f) <= 80 for f in frames)
    (first,) = {f.split("|")[0] for f in frames if f.startswith("IG")}
    assert first == "IG, IDGI (IG), and othe… "
    assert any(re.search(r"\| 2 of 6 maps, 00:00 left *$", f) for f in frames)
    last = "RISE .* 2 of 6 maps, 00:00 left, 310 evaluations"
    assert any(re.match(last, f) for f in frames)
    told = screen(found[0])
    assert [line[:20] for line in told if line] == ["captum-ext: a remark", "remark a remark a re"]
    assert max(map(len, told)) <= 80


def test_a_file_gets_whole_lines(capsys):
    with Work(4, "map", done=1) as work:
        work.begin("IG")
        work.update(3)
        work.begin("RISE")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "IG: 1 of 4 maps"
    assert lines[1] == "RISE: 4 of 4 maps, 00:00 left"
    assert re.fullmatch(r"RISE: 4 of 4 maps, \d\.\d s", lines[2])


def test_lines_of_a_file_keep_their_distance(capsys):
    with Work(0, "map", "IG", pace=60) as work:
        for _ in range(5):
            work.begin("next")
            work.update()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "IG: 0 maps"
    assert last.startswith("next: 5 maps, ")


def test_commands_say_maps_of_all_and_leave_no_bar(folder, capsys):
    with terminal() as found:
        assert explain("--methods", "ig,rise", "--n-masks", "4", "--target", "0") == 0
        assert sanity("--limit", "1", "--methods", "saliency", "--out", "s.png") == 0
    (text,) = found
    for total in (" of 2 maps", " of 168 frames", " of 3 maps"):
        assert total in text
    assert [line for line in screen(text) if "|" in line] == []
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


def test_in_a_file_commands_write_a_line_for_each_method(folder, capsys):
    assert explain("--methods", "ig,rise", "--n-masks", "4", "--target", "0") == 0
    text = capsys.readouterr().err
    assert "\r" not in text
    lines = [line for line in text.splitlines() if " maps" in line or " frames" in line]
    assert [line.split(",")[0] for line in lines] == [
        "IG: 0 of 2 maps", "RISE: 1 of 2 maps", "RISE: 2 of 2 maps",
        "insertion and deletion: 0 of 168 frames", "insertion and deletion: 168 of 168 frames",
    ]  # fmt: skip


def test_a_total_that_comes_later_is_shown_then(capsys):
    with terminal() as found, Work(0, "map", "IG") as work:
        work.update()
        work._bar.refresh()
        work.expect(6)
        work.close()
    frames = [f.rstrip() for f in re.split("[\r\n]", found[0]) if f.startswith("IG")]
    assert "IG: 1 map in 00:00" in frames
    assert re.search(r"\| 1 of 6 maps, 00:00 left$", frames[-1])
    with Work(0, "map", "IG") as work:
        work.expect(6)
    assert capsys.readouterr().err.splitlines()[-1].startswith("IG: 0 of 6 maps, ")
