"""The contract with every supported release of Captum, and with the lowest of all: ``nox``."""

import re
from pathlib import Path

import nox

FILES = ["tests/test_contract.py", "tests/attr", "tests/path", "tests/mask", "tests/metrics"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
@nox.parametrize("captum", ["0.7.0", "0.8.0", "0.9.0"])
def contract(session: nox.Session, captum: str) -> None:
    """Runs the contract and the methods' own tests."""
    session.install(".[test]")
    session.install(f"captum=={captum}", "--no-deps")
    session.run("pytest", "-n", "2", *FILES, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lowest(session: nox.Session) -> None:
    """Runs the same with the lowest versions that pyproject.toml allows."""
    session.install(".[test]")
    named = re.findall(r'"([a-z-]+)>=([\d.]+)",', Path("pyproject.toml").read_text())
    # A release of a series, such as 2.6, is its first.
    session.install(*(f"{name}=={version}" for name, version in named if name != "pillow"))
    session.run("pytest", "-n", "2", *FILES, env={"OMP_NUM_THREADS": "1"})
