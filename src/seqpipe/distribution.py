"""Name, requirements and wheel of the installed package, for pip."""

import base64
import functools
import hashlib
import re
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from seqpipe._version import __version__
from seqpipe.config.paths import PACKAGE, conf_dir

NAME = "seqpipe-rnn"  # the name seqpipe on the package index belongs to another project
PLUGINS = "hydra_plugins"  # the namespace in which Hydra looks for plugins
_WHEEL = "Wheel-Version: 1.0\nGenerator: seqpipe\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_SCRIPTS = "[console_scripts]\nseqpipe = seqpipe.cli:main\n"
_RELEASE = re.compile(r"\d+(\.\d+)+(\.post\d+)?")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")


class Declared(NamedTuple):
    """Requirements that the package declares.

    `python`: the versions it runs on; `always`: requirements; `extras`: name -> requirements.
    """

    python: str
    always: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]


@functools.cache
def declared() -> Declared:
    """Requirements from pyproject.toml in a checkout, else from the installed metadata.

    A package that was only put on the path declares nothing.
    """
    project = PACKAGE.parents[1] / "pyproject.toml"
    if project.is_file():
        table: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        extras = {name: tuple(needed) for name, needed in table["optional-dependencies"].items()}
        return Declared(table["requires-python"], tuple(table["dependencies"]), extras)
    try:
        found = metadata.metadata(NAME)
    except metadata.PackageNotFoundError:
        return Declared("", (), {})
    always: list[str] = []
    optional: dict[str, list[str]] = {}
    for line in found.get_all("Requires-Dist") or []:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        extra = _EXTRA.search(marker)
        (optional.setdefault(extra[1], []) if extra else always).append(requirement)
    extras = {name: tuple(needed) for name, needed in optional.items()}
    return Declared(found["Requires-Python"] or "", tuple(always), extras)


def pinned(name: str, version: str) -> tuple[str, ...]:
    """A requirement of a released version, `torch==2.13.0` for 2.13.0+cu130; () for others.

    The build is left out: an index that has 2.13.0 may not have it.
    """
    public = version.partition("+")[0]
    return (f"{name}=={public}",) if _RELEASE.fullmatch(public) else ()


def requirements(extra: str) -> tuple[str, ...]:
    """The libraries of an extra, in the form of pip: `soundfile>=0.12`."""
    return declared().extras.get(extra, ())


def write_wheel(folder: Path) -> Path:
    """Writes a wheel of the running code, from a checkout or from an installed package.

    The same code gives the same bytes. A part of its version is a hash of its files, so that pip
    and MLflow, which identify environments by their requirements, never confuse two wheels.

    Args:
        folder: an existing folder.

    Returns:
        the path of the wheel.
    """
    files = dict(_files())
    content = hashlib.sha256(repr(declared()).encode())
    for name, data in sorted(files.items()):
        content.update(f"{name}\0{len(data)}\0".encode() + data)
    version = f"{__version__}+{content.hexdigest()[:12]}"
    distribution = f"{NAME.replace('-', '_')}-{version}"
    info = f"{distribution}.dist-info"
    files |= {
        f"{info}/METADATA": _metadata(version).encode(),
        f"{info}/WHEEL": _WHEEL.encode(),
        f"{info}/entry_points.txt": _SCRIPTS.encode(),
    }
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{distribution}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980, so that the bytes are the same every day
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def _files() -> Iterator[tuple[str, bytes]]:
    """Name in the wheel and content of each file: package, configuration, plugins of Hydra."""
    places = {"seqpipe": PACKAGE, "seqpipe/conf": conf_dir()}
    plugins = sorted((PACKAGE.parent / PLUGINS).glob("seqpipe_*"))  # beside those of others
    places |= {f"{PLUGINS}/{folder.name}": folder for folder in plugins}
    for root, folder in places.items():
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            inside = root == "seqpipe" and name.startswith("conf/")  # the second place has it
            if path.is_file() and "__pycache__" not in path.parts and not inside:
                yield f"{root}/{name}", path.read_bytes()


def _metadata(version: str) -> str:
    needed = declared()
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {version}"]
    lines += [f"Requires-Python: {needed.python}"] if needed.python else []
    lines += [f"Requires-Dist: {one}" for one in needed.always]
    for extra, libraries in needed.extras.items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {one}; extra == '{extra}'" for one in libraries]
    return "\n".join(lines) + "\n"


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"sha256={digest}"
