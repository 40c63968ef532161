"""Small files for the tests of sources, and what a source says is wrong in them."""

import gzip

import numpy as np

from seqpipe.errors import DataError


def write(folder, name, content):
    """Write text or bytes, packed where the name ends in .gz."""
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


def parsed(made, file, **options):
    """The records of one file, with an error in the place of a bad one."""
    return list(made(train=file.name, path=str(file.parent), **options).parse(file))


def problems(found):
    """The messages that stand in the place of records."""
    return [text for one in found if isinstance(one, DataError) for text in one.problems]


def problems_of(source):
    """The messages that stand in the place of records, of every split."""
    return [text for found in source.read().by_name().values() for text in problems(found)]


def problems_in(made, file, **options):
    """All that is wrong with a file, as a whole or in it; paths without its folder."""
    try:
        found = problems(parsed(made, file, **options))
    except DataError as error:
        found = error.problems
    return [text.replace(f"{file.parent}/", "") for text in found]


def in_every_split(made, folder, names, **options):
    """A source that trains, validates and tests on the same files of a folder."""
    return made(train=names, valid=names, test=names, path=str(folder), **options)


def roll_of(*steps, width=88, lowest=21):
    """A piano roll with the MIDI numbers of each step."""
    roll = np.zeros((len(steps), width), dtype=np.uint8)
    for t, notes in enumerate(steps):
        roll[t, [note - lowest for note in notes]] = 1
    return roll
