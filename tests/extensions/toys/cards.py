"""A source of one's own: cards of `key: value` lines, with a blank line between two."""

from seqpipe.data.base import PlacedRecord
from seqpipe.data.sources.files import FileSource
from seqpipe.data.sources.text_lines import lines
from seqpipe.errors import DataError


class Cards(FileSource):
    """Each card is a record; the text before a colon names a column."""

    suffixes = (".card",)

    def parse(self, file):
        card = None
        for number, line in lines(file, self.encoding):
            if isinstance(line, DataError):
                yield line
                continue
            key, colon, value = line.partition(":")
            if colon:
                card = card or PlacedRecord({}, file, number)
                card[key.strip()] = value.strip()
            elif key.strip():
                yield DataError(f"{file}:{number}: has no colon; allowed: key: value")
            elif card:
                yield card
                card = None
        if card:
            yield card
