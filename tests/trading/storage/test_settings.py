"""DB_* names a server; a password is kept in a file that only its owner reads."""

from pathlib import Path

import pytest

from trading.errors import BadInput, ConfigError
from trading.storage.settings import DatabaseTarget, dsn_target, server_from_environment


@pytest.mark.covers("S1-35", "S2-9")
def test_defaults_are_those_of_the_environment_contract(tmp_path: Path) -> None:
    assert server_from_environment({}, tmp_path) is None
    assert server_from_environment({"DB_HOST": "localhost", "DB_PASSWORD": ""}, tmp_path) == DatabaseTarget(
        "localhost", 5432, "btc_data", "btc_bot", None
    )


@pytest.mark.covers("S1-35", "S2-9")
def test_every_value_can_be_given_and_the_password_never_shows(tmp_path: Path) -> None:
    given = {"DB_HOST": "nas", "DB_PORT": "5433", "DB_NAME": "d", "DB_USER": "u", "DB_PASSWORD": "s3cret\n#"}
    target = server_from_environment(given, tmp_path / "run")
    assert target is not None
    assert target.password() == "s3cret\n#"
    assert "s3cret" not in f"{target!r} {target}"
    assert Path(target.password_file).stat().st_mode & 0o777 == 0o600
    assert str(target) == "u@nas:5433/d"


@pytest.mark.parametrize("port", ["0", "70000", "abc", "-1", "５４"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(ConfigError, match=r"DB_PORT is .*no port"):
        server_from_environment({"DB_HOST": "nas", "DB_PORT": port}, tmp_path)


def test_a_lost_password_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        DatabaseTarget("nas", password_file=str(tmp_path / "gone")).password()


def test_a_dsn_names_all_there_is_to_know(tmp_path: Path) -> None:
    target = dsn_target("postgresql://me:p%40ss@nas:6000/prices", tmp_path)  # pragma: allowlist secret
    assert (str(target), target.password()) == ("me@nas:6000/prices", "p@ss")
    assert "p@ss" not in repr(target)
    assert Path(target.password_file).stat().st_mode & 0o777 == 0o600
    bare = dsn_target("postgres:///?host=/run/postgresql", tmp_path, "given")
    assert (str(bare), bare.password()) == ("btc_bot@/run/postgresql:5432/btc_data", "given")


@pytest.mark.parametrize(
    "dsn",
    ["", "nas", "mysql://{}nas/x", "postgresql://{}/x", "postgresql://{}nas:port/x",
     "postgresql://{}nas/x?sslmode=require", "postgresql://[{}nas/x"],
)  # fmt: skip
def test_a_dsn_that_is_none_is_refused_without_being_repeated(tmp_path: Path, dsn: str) -> None:
    with pytest.raises(BadInput) as caught:
        dsn_target(dsn.format("me:hidden@"), tmp_path)
    assert caught.value.fix is not None
    assert "hidden" not in str(caught.value)
