"""What a source knows of a label and a string cannot say; sources make it, fields read it."""


class OneLabel(str):
    """A label that its file marks as one, whatever signs it holds: `R&B|Soul`."""

    __slots__ = ()
