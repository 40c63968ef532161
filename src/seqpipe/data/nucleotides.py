"""Letters of DNA, the bases that each means, and the reverse complement."""

import hashlib
import re

STANDS_FOR = {
    **{base: base for base in "ACGT"},
    **{"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"},
    **{"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"},
}
"""Each code and its bases. Source: NC-IUB (1985), Nucleic Acids Research 13, 3021, table 1."""
CODES = "".join(STANDS_FOR)
BASES = CODES[:4]
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWYBJOUXZ"
"""Amino acids, one letter each; B J X Z are ambiguous. Source: IUPAC-IUB (1983)."""

_CODE_OF = {bases: code for code, bases in STANDS_FOR.items()}
_PAIRED = dict(zip("ACGT", "TGCA", strict=True))
_OTHER = {
    code: _CODE_OF["".join(sorted(_PAIRED[base] for base in bases))]
    for code, bases in STANDS_FOR.items()
}
_OTHER |= {code.lower(): other.lower() for code, other in _OTHER.items()}
_DNA = str.maketrans({**_OTHER, "U": "A", "u": "a"})
_RNA = str.maketrans({**_OTHER, "U": "A", "u": "a", "A": "U", "a": "u"})


def letters(alphabet: str) -> re.Pattern[str]:
    """A pattern for a letter outside an alphabet, `dna` or `protein`; white space is inside."""
    allowed = AMINO_ACIDS if alphabet == "protein" else f"{CODES}U"
    return re.compile(rf"[^{allowed}{allowed.lower()}\s]")


def allowed_letters(alphabet: str) -> str:
    """For messages: `A C G T ...`."""
    return " ".join(AMINO_ACIDS if alphabet == "protein" else f"{BASES}U{CODES[4:]}")


def reverse_complement(sequence: str) -> str:
    """Return the other strand, in its own direction; lower case stays, RNA stays RNA.

    >>> reverse_complement("AACGr"), reverse_complement("GAUU")
    ('yCGTT', 'AAUC')
    """
    is_rna = "U" in sequence or "u" in sequence
    return sequence.translate(_RNA if is_rna else _DNA)[::-1]


def item(sequence: str, *, one_strand: bool = False) -> str:
    """A key of 16 digits, the same for a sequence and its reverse complement in either case.

    Args:
        sequence: of letters.
        one_strand: only its own: a protein has no other strand.
    """
    folded = sequence.upper()
    one = folded if one_strand else min(folded, reverse_complement(folded))
    return hashlib.blake2b(one.encode(), digest_size=8).hexdigest()
