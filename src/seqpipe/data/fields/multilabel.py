"""Any of K labels for a whole example."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqpipe.data.base import OneLabel, Record
from seqpipe.data.fields.classes import Classes, class_name, several_in
from seqpipe.data.missing import is_infinite, is_missing
from seqpipe.errors import ConfigError, DataError


class MultiLabel(Classes):
    """Any of K labels an example, none included: (K,) uint8 of 0 and 1. Labels are sorted.

    Args:
        column: the key of the entry in a record: a list of labels, or text with `separator`
            between them; empty for none. What a source marks as one label stays one.
        separator: between two labels of a text.

    Raises:
        ConfigError: an empty separator.
    """

    kind = "multi_label"

    def __init__(self, column: str, *, separator: str = "|") -> None:
        super().__init__(column)
        if not separator:
            text = "is empty, so it separates no labels; allowed: one sign or more, |"
            raise ConfigError(f"data.y.separator='': {text}")
        self.separator = separator

    def fit(self, records: Iterable[Record]) -> None:
        """Learn the labels.

        Raises:
            DataError: there are none.
        """
        self._learn({label for record in records for label in self._labels(record)})
        if not self.names:
            raise DataError(
                f"{self.column}: no example has a label; allowed: at least one example with a label"
            )

    def check(self, record: Record) -> None:
        """Refuse what is no list of labels; one example alone may have none.

        Raises:
            DataError: it is none.
        """
        self._labels(record)

    def encode(self, record: Record) -> Tensor:
        """(K,) uint8.

        Raises:
            DataError: no list and no text, or a label that is not in the training split.
        """
        row = torch.zeros(len(self.names), dtype=torch.uint8)
        row[[self._id(label) for label in self._labels(record)]] = 1
        return row

    def decode(self, values: Tensor | Sequence[Any]) -> str:
        """The labels, with the separator between; as a JSON list where one of them holds it."""
        row = torch.as_tensor(values).tolist()
        labels = [name for name, on in zip(self.names, row, strict=True) if on]
        if any(self.separator in label for label in labels):
            return json.dumps(labels, ensure_ascii=False)
        return self.separator.join(labels)

    def describe(self, counts: object) -> str:
        """The number of labels and their names."""
        return f"any of {len(self.names)} labels ({self.shown_names()})"

    def notes(self, key: str) -> list[str]:
        """Labels that look like several others with another sign between them."""
        alike = super().notes(key)
        found = several_in(self.names)
        if found is None or found[0] == self.separator:
            return alike
        separator, together = found
        return [
            *alike,
            f"{key}.separator={self.separator}: {len(together):,} labels look like several, as"
            f" {together[0]!r}, and each is a label of its own; allowed: +{key}.separator="
            f"'{separator}' if they are",
        ]

    def _labels(self, record: Record) -> list[str]:
        value = self.value(record)
        if isinstance(value, str):
            one = isinstance(value, OneLabel)
            value = [value] if one else value.split(self.separator)
        if not isinstance(value, (list, tuple)):
            self.refuse(value, f"neither a list of labels nor text, as a{self.separator}b")
        for place, label in enumerate(value):
            if is_missing(label):
                text = f"[{place}]={label!r}: is missing; allowed: a label, or a list without it"
                raise DataError(f"{self.column}{text}")
            if is_infinite(label):
                text = f"[{place}]={label!r}: is not finite; allowed: a label"
                raise DataError(f"{self.column}{text}")
            if not isinstance(label, (str, int, float, Decimal, np.generic)):
                text = f"[{place}]={label!r}: not one label; allowed: text or a number"
                raise DataError(f"{self.column}{text}")
        labels = [class_name(label).strip() for label in value]
        return [label for label in labels if label]
