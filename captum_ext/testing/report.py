"""What a check is, and what a list of them found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from captum_ext._text import number_of

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


class ViolationError(AssertionError):
    """Raised by a check, with the numbers that show it."""


class NotApplicableError(Exception):
    """Raised by a check that can't be asked of a case, with the reason."""


@dataclass(frozen=True)
class Check:
    """One thing that is asked of a case; made from a function of it by `collect`.

    Args:
        name: of the function.
        rule: what has to hold, in one sentence.
        ask: raises `ViolationError` or `NotApplicableError`, or whatever the case does.
        claim: whether it is asked only of a case that claims it.
    """

    name: str
    rule: str
    ask: Callable[[Any], None]
    claim: bool = False

    def __call__(self, case: Any) -> Outcome:
        """What it finds; nothing that a case raises comes through, but an interruption."""
        try:
            if self.name in case.exempt:
                raise NotApplicableError(f"exempt: {case.exempt[self.name]}")
            if self.claim and self.name not in case.claims:
                raise NotApplicableError("not claimed")
            self.ask(case)
        except NotApplicableError as reason:
            return Outcome(self.name, self.rule, NOT_APPLICABLE, str(reason))
        except ViolationError as violation:
            return Outcome(self.name, self.rule, FAILED, str(violation))
        except Exception as error:
            return Outcome(self.name, self.rule, FAILED, f"raised {in_words(error)}", error)
        return Outcome(self.name, self.rule, PASSED)


def collect(checks: list[Check], claim: bool = False) -> Callable[[Callable[..., None]], Check]:
    """A decorator that adds a function to the checks; its docstring is the rule."""

    def add(ask: Callable[..., None]) -> Check:
        rule = " ".join((ask.__doc__ or "").split("\n\n")[0].split())
        checks.append(Check(ask.__name__, rule, ask, claim))
        return checks[-1]

    return add


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    Args:
        check: its name.
        rule: what has to hold, in one sentence.
        status: "passed", "failed" or "not applicable".
        detail: the numbers that show a failure, or why it can't be asked.
        error: what was raised where nothing should be.
    """

    check: str
    rule: str
    status: str
    detail: str = ""
    error: Exception | None = None

    def __str__(self) -> str:
        head = f"{self.status:<14}  {self.check}"
        if self.status == FAILED:
            return f"{head}\n    {self.rule}\n    {self.detail}"
        return f"{head}: {self.detail}" if self.detail else head


@dataclass(frozen=True)
class Report:
    """What all checks found, in their order.

    >>> report = Report("Mine", (Outcome("shape", "The shape is kept.", "passed"),))
    >>> report.failed, report["shape"].status
    ((), 'passed')
    >>> print(report)
    Mine: 1 passed, 0 failed, 0 not applicable
    passed          shape
    """

    subject: str
    outcomes: tuple[Outcome, ...]

    def _with(self, status: str) -> tuple[str, ...]:
        return tuple(one.check for one in self.outcomes if one.status == status)

    @property
    def passed(self) -> tuple[str, ...]:
        """The names of the checks that hold."""
        return self._with(PASSED)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that do not hold."""
        return self._with(FAILED)

    @property
    def not_applicable(self) -> tuple[str, ...]:
        """The names of the checks that were not asked; each outcome's detail says why."""
        return self._with(NOT_APPLICABLE)

    def __getitem__(self, check: str) -> Outcome:
        return {one.check: one for one in self.outcomes}[check]

    def __str__(self) -> str:
        groups = {s: self._with(s) for s in (PASSED, FAILED, NOT_APPLICABLE)}
        counts = ", ".join(f"{len(names)} {status}" for status, names in groups.items())
        return "\n".join([f"{self.subject}: {counts}", *map(str, self.outcomes)])


class ContractError(AssertionError):
    """Not all checks hold: the message shows all that fail, ``report`` what was found.

    >>> found = Outcome("shape", "The shape is kept.", "failed", "(2, 3) became (2,)")
    >>> raise ContractError(Report("Mine", (found,)))
    Traceback (most recent call last):
    captum_ext.testing.report.ContractError: Mine: 1 of 1 check fails:
    failed          shape
        The shape is kept.
        (2, 3) became (2,)
    """

    def __init__(self, report: Report) -> None:
        failed = [report[name] for name in report.failed]
        verb = "fails" if len(failed) == 1 else "fail"
        among = number_of(len(report.outcomes), "check")
        head = f"{report.subject}: {len(failed)} of {among} {verb}:"
        super().__init__("\n".join([head, *map(str, failed)]))
        self.report = report


def ask_all(subject: str, checks: Iterable[Check], case: Any, raises: bool) -> Report:
    """Asks every check of a case; with ``raises`` a failure is a `ContractError`."""
    report = Report(subject, tuple(check(case) for check in checks))
    if raises and report.failed:
        first = next((one.error for one in report.outcomes if one.error), None)
        raise ContractError(report) from first
    return report


def require_known(argument: str, names: Iterable[str], checks: Iterable[Check]) -> None:
    """Raises ValueError for names that are not those of checks."""
    known = [check.name for check in checks]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"`{argument}` are among {', '.join(known)}, but got {unknown}.")


def in_words(error: BaseException) -> str:
    """An exception's type and the first lines of its message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) < 240 else text[:237] + '...'}"
