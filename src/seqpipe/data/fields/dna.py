"""DNA and RNA, base by base."""

from collections.abc import Sequence
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor

from seqpipe.bounds import Share, checked
from seqpipe.data.base import Field, FieldSpec, Record
from seqpipe.data.columns import Array
from seqpipe.data.fields.symbols import endless
from seqpipe.data.nucleotides import BASES, CODES, STANDS_FOR
from seqpipe.errors import ConfigError
from seqpipe.rules import refusal


class Nucleotides(Field):
    """DNA with its IUPAC codes, base by base: ids (T_x,), or shares of A, C, G, T (T_x, D).

    Args:
        column: the key of the entry in a record; its value is text.
        codes: `symbols`: each code is an id, A C G T first; `shares`: four numbers, how much
            of each base a code stands for (R is 0.5 A and 0.5 G), so that nothing has to be
            learned of codes that are rare.
        ambiguity: what the codes of more than one base become: `separate`: each itself;
            `merged`: all N.
        masked: distinguish lower case (soft-masked repeats) from upper: other ids, or a fifth
            number, 1 for lower case. False: both are the same.
        rna: read U as T. False: U is refused.
        position: one number more, for shares only: the place of a base in its sequence, from -1,
            the first, to 1, the last. For sequences cut around a site, whose middle means
            something.
        substitutions: share of the bases that become another one of A C G T in training, others
            in each epoch; x only. N and other codes stay.
    """

    kind = "symbols"  # as shares "values", which fit the same models
    augmentations = ("substitutions",)

    @checked()
    def __init__(
        self,
        column: str,
        *,
        codes: Literal["symbols", "shares"] = "symbols",
        ambiguity: Literal["separate", "merged"] = "separate",
        masked: bool = False,
        rna: bool = False,
        position: bool = False,
        substitutions: Share = 0.0,
    ) -> None:
        super().__init__(column)
        if position and codes != "shares":
            allowed = "false, or also codes=shares"
            raise ConfigError(refusal("position", True, "ids have no room for it", allowed))
        self.codes, self.ambiguity, self.masked, self.rna = codes, ambiguity, masked, rna
        self.position, self.substitutions = position, substitutions
        upper = CODES if ambiguity == "separate" else f"{BASES}N"
        self.names = tuple(upper + upper.lower() if masked else upper)
        self._id_of = self._ids()
        self._shares = np.array([_share_of(name, masked) for name in self.names], dtype=np.float32)

    def encode(self, record: Record) -> Tensor:
        """(T_x,) uint8, or (T_x, D) float32: D = 4, and 1 each for `masked` and `position`.

        Raises:
            DataError: not text, or a letter that is no code.
        """
        text = self.value(record)
        if not isinstance(text, str):
            self.refuse(text, "not text")
        ids = self._id_of[np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)]
        if (ids == _NONE).any():
            self._refuse_letter(text, int(np.argmax(ids == _NONE)))
        if self.codes == "symbols":
            return torch.from_numpy(ids)
        shares = torch.from_numpy(self._shares[ids])
        if not self.position:
            return shares
        return torch.cat([shares, torch.linspace(-1, 1, len(ids)).unsqueeze(1)], dim=1)

    def encode_target(self, record: Record) -> Tensor:
        """Refused: a model that writes symbols has to know where they end.

        Raises:
            ConfigError: always.
        """
        allowed = "Text by characters to write DNA, or Tags for a class at each base"
        raise endless("Nucleotides", allowed)

    def augment(self, values: Array, rng: np.random.Generator) -> Array:
        """A copy, (T_x,) or (T_x, D), in which some bases are others, each as likely."""
        changed, count = values.copy(), len(BASES)
        chosen = rng.random(len(values)) < self.substitutions
        shifts = rng.integers(1, count, len(values))
        if self.codes == "symbols":
            code = values % (len(self.names) // (1 + self.masked))  # lower case comes second
            chosen &= code < count
            changed[chosen] += ((code + shifts) % count - code)[chosen].astype(values.dtype)
        else:
            bases = values[:, :count]
            chosen &= bases.max(axis=1) == 1
            other = (bases.argmax(axis=1) + shifts) % count
            changed[chosen, :count] = np.eye(count, dtype=values.dtype)[other[chosen]]
        return changed

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The letters; of shares the code that comes closest."""
        array = np.asarray(values)
        if self.codes == "shares" and array.size:
            bases = array[:, : self._shares.shape[1]]
            apart = bases[:, None, :] - self._shares[None, :, :]
            array = (apart**2).sum(axis=-1).argmin(axis=-1)
        return "".join(self.names[int(id_)] for id_ in array)

    @property
    def spec(self) -> FieldSpec:
        """Size: the number of codes, or D."""
        if self.codes == "shares":
            return FieldSpec("values", self._width)
        return FieldSpec("symbols", len(self.names), self.names, unit="bases")

    def describe(self, counts: object) -> str:
        """The numbers of a base."""
        if self.codes == "shares":
            return f"DNA, {self._width} numbers a base"
        return f"DNA, {len(self.names)} codes"

    @property
    def _width(self) -> int:
        return int(self._shares.shape[1]) + self.position

    def _ids(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Byte of a letter -> its id, (256,)."""
        ids = np.full(256, _NONE, dtype=np.uint8)
        for letter in CODES + CODES.lower() + ("Uu" if self.rna else ""):
            code = {"U": "T", "u": "t"}.get(letter, letter)
            code = code if self.masked else code.upper()
            if self.ambiguity == "merged" and code.upper() not in BASES:
                code = "n" if code.islower() else "N"
            ids[ord(letter)] = self.names.index(code)
        return ids

    def _refuse_letter(self, text: str, position: int) -> NoReturn:
        letter = text[position]
        allowed = " ".join(CODES)
        if letter in "Uu":
            allowed += "; U of RNA with rna=true"
        problem = f"letter {position + 1} is {letter!r}, no code of DNA; allowed: {allowed}"
        self.refuse(text, problem)


_NONE = 255  # of a byte that is no code


def _share_of(code: str, masked: bool) -> list[float]:
    bases = STANDS_FOR[code.upper()]
    shares = [(base in bases) / len(bases) for base in BASES]
    return [*shares, float(code.islower())] if masked else shares
