"""Records of somebody else's that were made up to do harm, and what tells that they did."""

import contextlib
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from seqpipe.commands.dispatch import call

QUICK = ("trainer.max_epochs=1", "preflight=none", "diagnostics=none", "data.cache=null")
EVIL = "evil.invalid"  # no such host: asking for its address is enough to be seen


class _Watch:
    """Files that Python opens and hosts that it asks for, while it is watched."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.seen is not None and event in ("open", "socket.getaddrinfo", "socket.connect"):
            self.seen.append(f"{event} {args!r}")


WATCH = _Watch()


@pytest.fixture(scope="session")
def trained(launch_in, tmp_path_factory) -> Path:
    """The folder of a run on a table, recorded in MLflow, which each test has a copy of."""
    root = tmp_path_factory.mktemp("theirs")
    draw, words = random.Random(0), "the cat sat on a mat good bad".split()
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 8))) for _ in range(60)]
    rows = [{"text": text, "label": "yes" if "good" in text else "no"} for text in texts]
    (root / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ("table", f"data.path={root / 'in.jsonl'}", "data.x.min_count=1")
    return launch_in(root, *data, *QUICK, "logger=mlflow").output_dir


@pytest.fixture(scope="session")
def generated(launch_in, tmp_path_factory) -> Path:
    """The folder of a run whose data needs no file."""
    return launch_in(tmp_path_factory.mktemp("generated"), "adding", *QUICK).output_dir


@pytest.fixture
def secret(tmp_path) -> Path:
    """A file that no record may have read, or written to."""
    path = tmp_path / "secret.txt"
    path.write_text("a secret that is nobody's business\n")
    return path


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """The folder the user works in: the record lies in it, and the user never trained there."""
    folder = tmp_path / "work"
    folder.mkdir()
    rows = [{"text": f"the cat sat {n}", "label": "yes" if n % 3 else "no"} for n in range(40)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def theirs(trained, work) -> Path:
    """A copy of the run, as somebody else sent it."""
    return Path(shutil.copytree(trained, work / "theirs"))


@pytest.fixture
def theirs_without_files(generated, work) -> Path:
    """Likewise, of data that needs no file."""
    return Path(shutil.copytree(generated, work / "theirs"))


@pytest.fixture
def change(canary, secret) -> Callable[..., None]:
    """change(folder, "data.x.column", value): another value in the config.yaml of that folder.

    CANARY in it becomes a path that must not come to be, SECRET a file that must not be read.
    """

    def spoil(folder: Path, key: str, value: object) -> None:
        path = folder / "config.yaml"
        config = node = yaml.safe_load(path.read_text())
        *parts, last = key.split(".")
        for part in parts:
            node = node[part]
        text = json.dumps(value).replace("CANARY", str(canary)).replace("SECRET", str(secret))
        node[last] = json.loads(text)
        path.write_text(yaml.safe_dump(config))

    return spoil


def content(folder: Path) -> dict[str, object]:
    """Everything below a folder."""
    return {
        str(path): path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def harmless(tmp_path, canary, secret, capfd) -> Callable[..., contextlib.AbstractContextManager]:
    """with harmless(): nothing was run, nobody else asked, no file written or read outside."""

    @contextlib.contextmanager
    def watched(written: bool = False) -> Iterator[None]:
        before, imported = content(tmp_path), set(sys.modules)
        WATCH.seen = []
        try:
            yield
        finally:
            seen, WATCH.seen = WATCH.seen, None
        assert not canary.exists()
        assert [one for one in seen if EVIL in one or secret.name in one] == []
        assert [name for name in set(sys.modules) - imported if "hostile_code" in name] == []
        after = content(tmp_path)
        if not written:
            assert sorted(after) == sorted(before)
        assert [name for name in before if after.get(name) != before[name]] == []

    return watched


@pytest.fixture
def refused(harmless, capfd) -> Callable[..., str]:
    """refused("rerun", "run=theirs"): the message; nothing happened, the exit code is 2."""

    def of(name: str, *words: str) -> str:
        capfd.readouterr()
        with harmless():
            code = call(name, list(words))
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert code == 2, (code, out, err)
        return err

    return of
