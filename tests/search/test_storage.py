"""Where studies are kept: files and servers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from seqpipe.errors import ConfigError
from seqpipe.search.storage import open_storage, resolve_storage


@pytest.mark.parametrize(
    ("typed", "resolved"),
    [
        ("sqlite:///a/studies.db", "sqlite:////here/a/studies.db"),
        ("sqlite:////there/studies.db", "sqlite:////there/studies.db"),
        ("postgresql://me@db/studies", "postgresql+psycopg://me@db/studies"),
        ("postgresql+psycopg://me@db/studies", "postgresql+psycopg://me@db/studies"),
    ],
)
def test_a_storage_does_not_depend_on_the_working_folder_or_on_an_old_driver(typed, resolved):
    assert resolve_storage(typed, Path("/here")) == resolved


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(ConfigError) as refused:
        resolve_storage("postgresql://me:secret@db/studies", Path("/here"))
    assert "PGPASSWORD" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("make", ["text", "folder"])
def test_what_is_no_database_is_refused(tmp_path, make):
    place = tmp_path / "studies.db"
    place.write_text("no database, but a text" * 100) if make == "text" else place.mkdir()
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.storage=.*cannot be used"):
        open_storage(f"sqlite:///{place}")


def test_a_server_that_does_not_answer_is_refused():
    with pytest.raises(ConfigError, match="cannot be used"):
        open_storage("postgresql+psycopg://nobody@localhost:1/studies")


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    found = [shutil.which("initdb"), *map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    return next((Path(one).parent for one in found if one), None)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server of PostgreSQL's that lives as long as these tests."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("pg")
    as_owner: list[str] = []
    if os.geteuid() == 0:  # which it refuses to be
        if shutil.which("runuser") is None:
            pytest.skip("no other user can be")
        shutil.chown(folder, "postgres")
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        as_owner = ["runuser", "-u", "postgres", "--"]
    data, log = folder / "data", folder / "log"

    def call(name: str, *arguments: str) -> None:
        command = [*as_owner, str(programs / name), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=folder)

    call("initdb", "-D", str(data), "-A", "trust", "-U", "me", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    call("pg_ctl", "-D", str(data), "-o", options, "-l", str(log), "-w", "start")
    yield f"postgresql://me@/postgres?host={folder}"
    call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


def test_a_study_on_a_server_is_shared_and_continued(server, plan, optuna_study, run):
    one = optuna_study(plan(6, "a"), storage=server)
    two = optuna_study(plan(6, "b"), storage=server)
    assert two.ask(0).number == 0
    assert len(run(one)) == 5
    two.close()
    assert [trial.number for trial in optuna_study(plan(7, "c"), storage=server).trials()] == [
        *range(6)
    ]
