"""What all tests of backtests share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs compiled once for all tests of the session, in whatever process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(tmp_path_factory.getbasetemp().parent / "kernels"))
        yield
