"""The contract with every supported release of Captum, and with the lowest of all: ``nox``."""

import re
from pathlib import Path

import nox

FILES = ["tests/test_contract.py", "tests/attr", "tests/path", "tests/mask", "tests/metrics"]
# Warnings are errors with the newest versions alone: old ones warn of one another.
TESTS = ["pytest", "-n", "2", "-W", "default"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
@nox.parametrize("captum", ["0.7.0", "0.8.0", "0.9.0"])
def contract(session: nox.Session, captum: str) -> None:
    """Runs the contract and the methods' own tests."""
    session.install(".[test]")
    session.install(f"captum=={captum}", "--no-deps")
    session.run(*TESTS, *FILES, env={"OMP_NUM_THREADS": "1"})


@nox.session(python="3.10")
def lowest(session: nox.Session) -> None:
    """Runs all tests but those of pages with the lowest versions that pyproject.toml allows."""
    named = re.findall(r'"([a-z0-9-]+)>=([\d.]+)"', Path("pyproject.toml").read_text())
    # At once, so that what the tests use beside them is chosen to fit.
    session.install(".[test]", *(f"{name}=={version}" for name, version in named))
    pages = [f"--ignore=tests/test_{name}.py" for name in ("site", "tutorials", "benchmarks")]
    session.run(*TESTS, "tests", *pages, env={"OMP_NUM_THREADS": "1"})
