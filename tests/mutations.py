"""Damage to files, as it happens to data: cut off, packed twice, saved by a spreadsheet."""

import gzip
from collections.abc import Callable

from hypothesis import strategies as st

ODD_BYTES = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m", b"\r", b"\r\n", b"\n\n\n"),
    *(b"\t", b" ", b",", b";", b'"', b"'", b"nan", b"inf", b"-1e400", b"1" * 400, b"=1+1"),
    *(b"\xe2\x80\xae", b"\xc3(", b"null", b"{", b"[[[[[[[[", b"${oc.env:HOME}", b"\\", b"%s%n"),
    *(b"../../etc/passwd", b"<script>"),
)

Mutation = Callable[[bytes], bytes]


def _cut(share: float) -> Mutation:
    return lambda raw: raw[: int(len(raw) * share)]


def _flipped(share: float, bit: int) -> Mutation:
    def flip(raw: bytes) -> bytes:
        at = int(len(raw) * share)
        return raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :] if raw else raw

    return flip


def _inserted(share: float, odd: bytes) -> Mutation:
    def insert(raw: bytes) -> bytes:
        at = int(len(raw) * share)
        return raw[:at] + odd + raw[at:]

    return insert


def _overwritten(share: float, odd: bytes) -> Mutation:
    def overwrite(raw: bytes) -> bytes:
        at = int(len(raw) * share)
        return raw[:at] + odd + raw[at + len(odd) :]

    return overwrite


def _replaced(old: bytes, new: bytes, count: int) -> Mutation:
    return lambda raw: raw.replace(old, new, count)


def _line_dropped(share: float) -> Mutation:
    def drop(raw: bytes) -> bytes:
        lines = raw.splitlines(keepends=True)
        del lines[int(len(lines) * share) : int(len(lines) * share) + 1]
        return b"".join(lines)

    return drop


def _line_repeated(share: float, times: int) -> Mutation:
    def repeat(raw: bytes) -> bytes:
        lines = raw.splitlines(keepends=True)
        at = int(len(lines) * share)
        return b"".join(lines[:at] + lines[at : at + 1] * times + lines[at:])

    return repeat


def _lines_reversed(raw: bytes) -> bytes:
    return b"".join(raw.splitlines(keepends=True)[::-1])


def _as_utf16(raw: bytes) -> bytes:
    return raw.decode("utf-8", "replace").encode("utf-16")


_SHARES = st.floats(0, 1, exclude_max=True, allow_subnormal=False)
_ODD = st.sampled_from(ODD_BYTES) | st.binary(max_size=12)
_SEPARATORS = st.sampled_from([b",", b"\t", b"\n", b":", b" ", b"\r\n", b"0", b"1", b"a", b"."])

MUTATIONS = st.one_of(
    st.builds(_cut, _SHARES),
    st.builds(_flipped, _SHARES, st.integers(0, 7)),
    st.builds(_inserted, _SHARES, _ODD),
    st.builds(_overwritten, _SHARES, _ODD),
    st.builds(_replaced, _SEPARATORS, _ODD | _SEPARATORS, st.sampled_from([-1, 1, 3])),
    st.builds(_line_dropped, _SHARES),
    st.builds(_line_repeated, _SHARES, st.sampled_from([1, 2, 50])),
    st.sampled_from([_lines_reversed, _as_utf16, gzip.compress, lambda raw: raw * 2]),
)
"""A change of the bytes of a file."""
