"""A disk that is really full, at several moments of a run: a small file system in memory.

It is mounted in a namespace of its own, which needs no rights, and disappears with its process.
"""

import json
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="no namespaces of file systems"),
]

TYPED = (
    *("data=adding", "data.length=6", "data.source.train=60", "data.source.valid=16"),
    *("data.source.test=16", "hidden_size=8", "data.batch_size=16", "data.cache=null"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=2"),
    *("preflight=none", "trainer.log_every_n_steps=1"),
)
SMALL_DISK = """
import ctypes, json, os, sys
from pathlib import Path
from seqpipe import cli
folder, size, typed = sys.argv[1], sys.argv[2], sys.argv[3:]
libc = ctypes.CDLL(None, use_errno=True)
def mount(flags, options):
    return libc.mount(b"none", folder.encode(), b"tmpfs", flags, options.encode())
user, group = os.getuid(), os.getgid()
try:
    assert libc.unshare(0x10020000) == 0  # a namespace of users, and one of mounts
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    assert mount(0, f"size={size}") == 0
except (OSError, AssertionError):
    print("NO NAMESPACE", ctypes.get_errno())
    sys.exit()
os.chdir(folder)
sys.argv = ["seqpipe", *typed]
code = cli.main()
made = [*Path("outputs").rglob("*")] if Path("outputs").is_dir() else []
for path in made:  # none is cut short
    if path.suffix == ".json":
        json.loads(path.read_text())
    if path.suffix == ".ckpt":
        from seqpipe.training.archives import read_archive
        read_archive(path)
left = [str(path) for path in made if path.name.startswith(".new-")]
files = sorted(str(path) for path in made if path.is_file())
synced = states = None
if any(path.name == "unsent" for path in made):
    assert mount(32, "size=60m") == 0  # room again
    sys.argv = ["seqpipe", "sync"]
    synced = cli.main()
    import sqlite3
    states = sqlite3.connect("outputs/mlflow.db").execute("SELECT status FROM runs").fetchall()
    points = "SELECT count(*), count(DISTINCT key || ' ' || step) FROM metrics"
    points = sqlite3.connect("outputs/mlflow.db").execute(points).fetchone()
found = {"code": code, "left": left, "files": files, "synced": synced, "states": states}
print("FOUND " + json.dumps(found))
"""


@pytest.fixture
def on_a_disk_of(warm, tmp_path):
    """on_a_disk_of("900k"): how a run ends there, its messages, and what sync then sends."""

    def run(size: str, *overrides: str) -> tuple[dict, str]:
        folder = tmp_path / "disk"
        folder.mkdir()
        done = warm.run(SMALL_DISK, str(folder), size, *TYPED, *overrides, cwd=tmp_path)
        if "NO NAMESPACE" in done.stdout:
            pytest.skip("this system gives no namespace")
        assert "Traceback" not in done.stderr
        line = next((line for line in done.stdout.splitlines() if line.startswith("FOUND")), None)
        assert line is not None, done.stdout + done.stderr
        found = json.loads(line.removeprefix("FOUND "))
        assert found["left"] == []
        return found, done.stderr

    return run


@pytest.mark.parametrize(
    ("size", "overrides", "told"),
    [
        ("300k", (), "cannot be opened (database or disk is full)"),
        ("4k", ("logger=none",), "cannot be written (No space left on device)"),
    ],
)
def test_a_disk_that_is_full_at_the_start_is_refused_and_holds_nothing(
    on_a_disk_of, size, overrides, told
):
    found, messages = on_a_disk_of(size, *overrides)
    assert found["code"] == 2, messages
    assert told in messages
    assert "database or disk is full" in messages or "logger.offline" not in messages
    assert set(found["files"]) <= {"outputs/mlflow.db.lock"}


@pytest.mark.parametrize("size", ["1100k", "1200k", "3000k"])
def test_a_disk_that_fills_up_ends_no_training_and_sync_sends_what_waits_once_there_is_room(
    on_a_disk_of, size
):
    found, messages = on_a_disk_of(size, "logger.flush_seconds=0")
    assert found["code"] in (0, 1), messages
    assert "could not be recorded" in messages
    assert any(path.endswith("config.yaml") for path in found["files"])
    waits = any(path.endswith("unsent/journal.jsonl") for path in found["files"])
    assert found["synced"] == (0 if waits else None), messages
    assert waits == ("python -m seqpipe sync" in messages)
