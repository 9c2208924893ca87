"""Progress on stderr, with an estimate of what is left."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """A bar over groups of images x methods; silent in all processes but the first.

    Args:
        silent: shows nothing.
    """

    def __init__(self, silent: bool = False) -> None:
        self.bar: tqdm[None] | None = None
        self.silent = silent

    def __call__(self, label: str, done: int, total: int) -> None:
        """Shows what begins, and how much is done of how much."""
        if self.bar is None:
            terminal = sys.stderr.isatty()
            # A log file gets a line now and then, a terminal a bar that moves.
            pace = 0.1 if terminal else 30.0
            self.bar = tqdm(
                total=total or None, initial=done, unit=" maps", disable=self.silent,
                mininterval=pace, maxinterval=max(10.0, pace), leave=False,
            )  # fmt: skip
        self.bar.set_description(label, refresh=False)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Removes the bar."""
        if self.bar is not None:
            self.bar.close()
