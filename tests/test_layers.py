"""What the import linter cannot see: libraries that arrive through other libraries, at run time."""

import pkgutil
import subprocess
import sys

import pytest

HEAVY = {"ray", "pandas", "numba", "ccxt", "web3", "talib"}


@pytest.mark.parametrize("package", ["trading", "monitoring"])
def test_importing_every_module_brings_in_neither_ray_nor_heavy_libraries(package: str):
    root = __import__(package)
    names = [module.name for module in pkgutil.walk_packages(root.__path__, f"{package}.")]
    code = (
        f"import importlib, sys\nfor name in {[package, *names]!r}: importlib.import_module(name)\nprint(*sys.modules)"
    )

    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr
    assert HEAVY & set(outcome.stdout.split()) == set()
