"""The bundled server: private, durable, restarted after a crash, and clear about what is wrong."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil
import pytest

from trading.errors import ConfigError
from trading.storage.database import Database, connect
from trading.storage.postgres import BundledPostgres, running_server

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[BundledPostgres]:
    """A server that never ran."""
    server = BundledPostgres(tmp_path / "var" / "postgres")
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def used_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a server that ran once: a copy of it costs less than making it anew."""
    server = BundledPostgres(tmp_path_factory.mktemp("used") / "postgres")

    async def once() -> None:
        await server.start()
        await server.stop()

    asyncio.run(once())
    return server.data_dir


@pytest.fixture
def used_server(server: BundledPostgres, used_data: Path) -> BundledPostgres:
    """A server that ran before and is stopped."""
    server.data_dir.parent.mkdir()
    shutil.copytree(used_data, server.data_dir)
    return server


def is_running(pid: int) -> bool:
    """A zombie that pid 1 has not collected yet is no running server."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.covers("S1-35")
async def test_starts_makes_its_database_and_leaves_nothing(server: BundledPostgres) -> None:
    target = await server.start()
    assert (target.database, target.user) == ("btc_data", "btc_bot")
    connection = await connect(target)
    shown = {
        name: await connection.fetchval(f"show {name}")
        for name in (
            "server_encoding",
            "timezone",
            "data_checksums",
            "listen_addresses",
            "fsync",
            "shared_buffers",
            "jit",
        )
    }
    await connection.close()
    assert shown == {
        "server_encoding": "UTF8", "timezone": "UTC", "data_checksums": "on", "listen_addresses": "",
        "fsync": "on", "shared_buffers": "64MB", "jit": "off",
    }  # fmt: skip
    pid, socket_dir = server.pid, Path(target.host)
    assert pid is not None
    assert running_server(server.data_dir) == target
    await server.stop()
    assert not is_running(pid)
    assert not socket_dir.exists()
    assert running_server(server.data_dir) is None


async def test_only_the_owner_reaches_data_socket_and_password(used_server: BundledPostgres) -> None:
    target = await used_server.start()
    modes = [
        oct(path.stat().st_mode & 0o777)
        for path in (used_server.data_dir, Path(target.host), Path(target.password_file))
    ]
    assert modes == ["0o700", "0o700", "0o600"]
    assert target.password() not in repr(target)
    wrong = used_server.data_dir / "wrong"
    wrong.write_text("guess")
    with pytest.raises(ConfigError, match="refuses us"):
        await connect(replace(target, password_file=str(wrong)))


def listeners(pids: set[int]) -> set[tuple[str, int]]:
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    mine = [line for line in lines if any(f"pid={pid}," in line for pid in pids)]
    return {(line.split()[3].rpartition(":")[0], int(line.split()[3].rpartition(":")[2])) for line in mine}


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss is not installed")
async def test_nothing_listens_beyond_loopback(used_server: BundledPostgres, unused_tcp_port: int) -> None:
    for port, expected in ((0, set()), (unused_tcp_port, {("127.0.0.1", unused_tcp_port)})):
        server = BundledPostgres(used_server.data_dir, port=port)
        await server.start()
        try:
            assert server.pid is not None
            pids = {server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))}
            assert listeners(pids) == expected
        finally:
            await server.stop()


async def test_a_taken_port_is_named_with_the_fix(used_server: BundledPostgres) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    with pytest.raises(ConfigError, match=f"Port {port} of 127.0.0.1 is taken.*storage.port"):
        await BundledPostgres(used_server.data_dir, port=port).start()
    taken.close()
    await taken.wait_closed()


async def test_killed_server_comes_back_with_all_that_was_committed(used_server: BundledPostgres) -> None:
    target = await used_server.start()
    watching = asyncio.create_task(used_server.watch())
    async with Database(target) as database:
        await database.run(lambda conn: conn.execute("create table kept (n int primary key)"))
        for n in range(3):
            await database.run(lambda conn, n=n: conn.execute("insert into kept values ($1) on conflict do nothing", n))
            assert used_server.pid is not None
            os.kill(used_server.pid, signal.SIGKILL)
            await until(lambda n=n: used_server.restarts == n + 1)
            rows = await database.run(lambda conn: conn.fetch("select n from kept order by n"))
            assert [row["n"] for row in rows] == [*range(n + 1)]
    assert used_server.target == target, "clients keep their address over restarts"
    await used_server.stop()
    await asyncio.wait_for(watching, 60)


async def test_a_paused_server_is_stopped_in_order_all_the_same(used_server: BundledPostgres) -> None:
    target = await used_server.start()
    connection = await connect(target)
    server = psutil.Process(used_server.pid)
    paused = [server, *server.children()]
    for process in paused:
        process.suspend()
    await used_server.stop(15)
    connection.terminate()
    assert not [process.pid for process in paused if is_running(process.pid)]
    # By force its pid file would have stayed behind.
    assert not (used_server.data_dir / "postmaster.pid").exists()


async def test_a_statement_that_never_ends_does_not_outlive_the_server(used_server: BundledPostgres) -> None:
    """The server waits for nobody, and what outlived it is ended, too."""
    connection = await connect(await used_server.start())
    asking = asyncio.ensure_future(connection.execute("select pg_sleep(3600)"))
    server = psutil.Process(used_server.pid)
    await until(lambda: any("SELECT" in " ".join(child.cmdline()) for child in server.children()))
    workers = server.children()
    await used_server.stop(15)
    assert not [worker.pid for worker in workers if is_running(worker.pid)]
    with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError)):
        await asking


async def test_a_pid_file_whose_number_was_given_to_another_program_is_removed(used_server: BundledPostgres) -> None:
    await used_server.start()
    pid_file = used_server.data_dir / "postmaster.pid"
    told = pid_file.read_text().splitlines()
    await used_server.stop()
    # As after a container restart: the same number now belongs to somebody else.
    pid_file.write_text("\n".join([str(os.getpid()), *told[1:]]) + "\n")
    await asyncio.wait_for(used_server.start(), 60)
    assert used_server.pid is not None


async def test_a_data_directory_serves_one_master(used_server: BundledPostgres) -> None:
    await used_server.start()
    with pytest.raises(ConfigError, match=r"is in use by process \d+.*manta down"):
        await BundledPostgres(used_server.data_dir).start()
    assert used_server.pid is not None


async def test_data_of_another_version_names_both(server: BundledPostgres) -> None:
    server.data_dir.mkdir(parents=True)
    (server.data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(ConfigError, match=r"made by PostgreSQL 9, but .* is PostgreSQL 18.*pg_dump"):
        await server.start()


async def test_missing_programs_are_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No working postgres and initdb in .*nowhere.*storage.binaries"):
        await BundledPostgres(tmp_path / "postgres", binaries=tmp_path / "nowhere").start()
    assert not (tmp_path / "postgres").exists()


async def test_a_folder_with_other_files_is_left_alone(server: BundledPostgres) -> None:
    server.data_dir.mkdir(parents=True)
    (server.data_dir / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="holds files but no PostgreSQL data"):
        await server.start()
    assert [path.name for path in server.data_dir.iterdir()] == ["thesis.txt"]


async def test_an_interrupted_first_start_is_begun_anew(server: BundledPostgres) -> None:
    half = server.data_dir.with_name("postgres.new")
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    await server.start()
    assert not half.exists()


NOBODY = pwd.getpwnam("nobody")

HOST = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from trading.storage.postgres import BundledPostgres

    async def main():
        server = BundledPostgres(sys.argv[1])
        await server.start()
        print(server.pid, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop()

    asyncio.run(main())
""")


def start_host(data_dir: Path, *prefix: str) -> tuple[subprocess.Popen[str], int]:
    host = subprocess.Popen(
        [*prefix, sys.executable, "-B", "-c", HOST, str(data_dir)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = host.stdout.readline()
    assert line.strip().isdigit(), "the host process must tell its server's pid"
    return host, int(line)


async def test_the_server_dies_with_its_host_and_starts_again(used_server: BundledPostgres) -> None:
    host, pid = start_host(used_server.data_dir)
    host.kill()
    with host:
        pass
    await used_server.start()
    assert not is_running(pid)
    log = (used_server.data_dir / "server.log").read_text()
    assert "automatic recovery" not in log, "it was shut down cleanly although its host was killed"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another account can reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="manta-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_runs_as_a_plain_user_and_root_may_take_over(open_folder: Path) -> None:
    os.chown(open_folder, NOBODY.pw_uid, NOBODY.pw_gid)
    plain = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
    data_dir = open_folder / "postgres"
    for _ in range(2):
        host, pid = start_host(data_dir, *plain)
        assert psutil.Process(pid).uids().real == NOBODY.pw_uid
        host.communicate(timeout=120)
        assert not is_running(pid)

        server = BundledPostgres(data_dir)
        await server.start()
        assert server.pid is not None
        assert psutil.Process(server.pid).uids().real == NOBODY.pw_uid, "the data keeps its owner"
        await server.stop()
    assert {path.stat().st_uid for path in open_folder.rglob("*")} == {NOBODY.pw_uid}


NO_NAMESPACES = textwrap.dedent("""
    import ctypes, os, struct, sys
    unshare = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
    rules = ((0x20, 0, 0, 0), (0x15, 0, 1, unshare), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code)))
    if ctypes.CDLL(None, use_errno=True).prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execv(sys.argv[1], sys.argv[1:])
""")


@pytest.mark.skipif(os.getuid() != 0, reason="only root is refused by PostgreSQL")
async def test_root_without_user_namespaces_runs_it_as_nobody(open_folder: Path) -> None:
    """As in a container with the usual seccomp profile, where ``unshare`` is forbidden."""
    data_dir = open_folder / "var" / "postgres"
    host, pid = start_host(data_dir, sys.executable, "-c", NO_NAMESPACES)
    assert psutil.Process(pid).uids().real == NOBODY.pw_uid
    assert oct(data_dir.parent.stat().st_mode & 0o777) == "0o701", "others may pass through, not look"
    host.communicate(timeout=120)
    assert not is_running(pid)


@pytest.mark.skipif(os.getuid() != 0, reason="only root is refused by PostgreSQL")
async def test_root_runs_it_in_a_namespace_and_keeps_the_files(server: BundledPostgres) -> None:
    await server.start()
    connection = await connect(server.target)
    assert await connection.fetchval("select 1") == 1
    await connection.close()
    assert {path.stat().st_uid for path in server.data_dir.rglob("*")} == {0}
