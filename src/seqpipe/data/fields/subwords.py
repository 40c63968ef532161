"""Text by bytes, and by pieces of words: byte-level byte-pair encoding, learned in training."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from seqpipe.data.fields.tokenization import UNKNOWN, Entry, Way
from seqpipe.data.vocabulary import SPECIALS, UNK
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal

MOST_BY_DEFAULT = 8000
PARALLELISM = "TOKENIZERS_PARALLELISM"
_SPECIAL = len(SPECIALS)
_LEAST = _SPECIAL + 256


def default_size(characters: int) -> int:
    """Return how many subwords suit a training text, the special symbols included.

    Three times the root of its length: 1,000 for 2,000 short sentences, 4,000 for 29,000. A symbol
    is learned from the places where it occurs, so that fewer symbols suit a smaller text.

    Args:
        characters: of the training text.

    Source: Sennrich & Zhang (2019), "Revisiting low-resource neural machine translation: a case
    study", for fewer subwords where there is less data; the root is ours, measured in docs/text.md.
    """
    return min(MOST_BY_DEFAULT, max(_LEAST + 240, round(3 * math.sqrt(characters))))


class OfBytes(Way):
    """Ways whose symbols are bytes and runs of bytes: nothing is unknown."""

    has_unknown = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_vocabulary is not None and self.max_vocabulary < _LEAST:
            wrong = f"by {self.unit} there are 256 bytes and {_SPECIAL} special symbols at least"
            allowed = f"an integer >= {_LEAST}, or null"
            raise ConfigError(refusal("max_vocabulary", self.max_vocabulary, wrong, allowed))


class Bytes(OfBytes):
    """A symbol is one of the 256 bytes of UTF-8; nothing is learned."""

    unit = "bytes"
    _names = (*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_count is not None:
            wrong = "by bytes none is left out"
            raise ConfigError(refusal("min_count", self.min_count, wrong, "null"))

    @property
    def names(self) -> tuple[str, ...]:
        """See `Way`."""
        return self._names

    def fit(self, entries: Iterable[Entry]) -> None:
        """Nothing to learn."""

    def encode(self, entry: Entry) -> list[list[int]]:
        """The bytes, each plus 4."""
        assert isinstance(entry, str)
        return [[_SPECIAL + byte for byte in entry.encode()]] if entry else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text; what is not UTF-8 shows as U+FFFD."""
        found = b"".join(UNKNOWN.encode() if id_ == UNK else bytes([id_ - _SPECIAL]) for id_ in ids)
        return found.decode(errors="replace")


class Subwords(OfBytes):
    """A symbol is a frequent run of bytes within a word, or a single byte: none is unknown.

    Starting from the 256 bytes, the most frequent pair of neighbours becomes a symbol of its own,
    again and again, until the vocabulary is full (None: see `default_size`) or no pair occurs
    `min_count` times (None: 2).
    The space before a word belongs to it. The same texts give the same symbols.

    Source: Sennrich et al. (2016), section 3.2; Radford et al. (2019), section 2.2, for bytes.
    The library is Hugging Face tokenizers.

    Raises:
        ConfigError: an option out of range.
    """

    unit = "subwords"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._pieces: Any = None  # a tokenizers.Tokenizer, whose ids start at 0
        self._names: tuple[str, ...] = SPECIALS

    @property
    def names(self) -> tuple[str, ...]:
        """See `Way`."""
        return self._names

    def fit(self, entries: Iterable[Entry]) -> None:
        """Learn the pairs; the texts are counted word by word, not kept."""
        library = _library()
        level = library.pre_tokenizers.ByteLevel
        pieces = library.Tokenizer(library.models.BPE())
        pieces.pre_tokenizer = level(add_prefix_space=False)
        pieces.decoder = library.decoders.ByteLevel()
        size = MOST_BY_DEFAULT if self.max_vocabulary is None else self.max_vocabulary
        trainer = library.trainers.BpeTrainer(
            vocab_size=size - _SPECIAL,
            min_frequency=2 if self.min_count is None else self.min_count,
            initial_alphabet=sorted(level.alphabet()),
            show_progress=False,
        )
        seen = _Counted(entries)
        pieces.train_from_iterator(seen, trainer)
        if self.max_vocabulary is None:
            pieces = _first(pieces, default_size(seen.characters) - _SPECIAL)
        self._set_pieces(pieces)

    def encode(self, entry: Entry) -> list[list[int]]:
        """The pieces, each id plus 4."""
        ids = self._pieces.encode(entry).ids
        return [[_SPECIAL + id_ for id_ in ids]] if ids else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text; bytes that are not UTF-8 show as U+FFFD."""
        text, run = "", []
        for id_ in (*ids, UNK):  # <UNK> is in no text, but a model may write it
            if id_ != UNK:
                run.append(id_ - _SPECIAL)
                continue
            text += self._pieces.decode(run) + UNKNOWN
            run = []
        return text.removesuffix(UNKNOWN)

    def state(self) -> dict[str, Any]:
        """The pieces, as the library writes them: JSON."""
        return {"tokenizer": self._pieces.to_str()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the pieces."""
        super().restore(state)
        self._set_pieces(_library().Tokenizer.from_str(state["tokenizer"]))

    def _set_pieces(self, pieces: Any) -> None:
        self._pieces = pieces
        symbols = (pieces.id_to_token(id_) for id_ in range(pieces.get_vocab_size()))
        self._names = (*SPECIALS, *symbols)


class _Counted:
    """Texts, whose characters are counted as they are read."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries, self.characters = entries, 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries:
            self.characters += len(entry)
            yield entry


def _first(pieces: Any, size: int) -> Any:
    """The tokenizer of the first `size` symbols: it is what training to that size gives."""
    model = json.loads(pieces.to_str())
    kept = set(_library().pre_tokenizers.ByteLevel.alphabet())
    merges = list[Any]()
    for left, right in model["model"]["merges"]:
        if len(kept | {left + right}) > size:
            break
        kept.add(left + right)
        merges.append([left, right])
    vocabulary = model["model"]["vocab"]
    model["model"]["vocab"] = {name: id_ for name, id_ in vocabulary.items() if name in kept}
    model["model"]["merges"] = merges
    return _library().Tokenizer.from_str(json.dumps(model))


def _library() -> Any:
    """The library; imported where it is used, as few runs have subwords."""
    # Loader processes are forked from this one, where its threads would hang; where nothing is
    # said, the library warns of it at each fork. One text at a time needs none.
    os.environ.setdefault(PARALLELISM, "false")
    import tokenizers

    return tokenizers
