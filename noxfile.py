"""The contract with every supported release of Captum: ``nox``."""

import nox

nox.options.reuse_existing_virtualenvs = True


@nox.session
@nox.parametrize("captum", ["0.7.0", "0.8.0", "0.9.0"])
def contract(session: nox.Session, captum: str) -> None:
    """Runs the contract and the methods' own tests."""
    session.install(".[test]")
    session.install(f"captum=={captum}", "--no-deps")
    files = ["tests/test_contract.py", "tests/attr", "tests/path", "tests/mask", "tests/metrics"]
    session.run("pytest", "-n", "2", *files, env={"OMP_NUM_THREADS": "1"})
