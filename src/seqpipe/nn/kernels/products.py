"""Products with one weight matrix: plain, or with the weight laid out once for oneDNN.

A loop over time multiplies small batches with the same weight at every step. oneDNN reads a weight
that is in its own layout faster than BLAS reads it row by row, once it no longer fits the cache.
"""

import torch
from torch import Tensor

from seqpipe.nn.kernels import onednn_internals as onednn

MANY_BYTES = 512 * 1024
"""Size of a weight from which oneDNN's layout pays for a small batch."""
MANY_ROWS = 256
"""Rows from which one product is so large that oneDNN is ahead of BLAS with any weight."""


class Weight:
    """A weight W (K, D), prepared for many products x W^T.

    Args:
        matrix: W (K, D), not changed as long as this is used.
        rows: rows of x that most products have.
        half: multiply in bfloat16; the result is added up in the precision of the target.
    """

    def __init__(self, matrix: Tensor, rows: int, *, half: bool = False) -> None:
        self.half = half
        matrix = matrix.bfloat16() if half else matrix
        large = matrix.numel() * matrix.element_size() >= MANY_BYTES
        self._packed = None
        if large and onednn.multiplies(matrix.dtype):
            self._packed = onednn.packed(matrix, rows)
        self._transposed = matrix.t()

    def times(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """X W^T + b. x: (n, D); bias: (K,). Returns (n, K), in bfloat16 where `half`."""
        if self.half:
            x, bias = x.bfloat16(), None if bias is None else bias.bfloat16()
        if self._packed is not None:
            return onednn.product(x, self._packed, bias)
        return x @ self._transposed if bias is None else torch.addmm(bias, x, self._transposed)

    def add_to(self, target: Tensor, x: Tensor) -> None:
        """Adds x W^T to target. target: (n, K); x: (n, D)."""
        if self._packed is None and not self.half:
            target.addmm_(x, self._transposed)
        else:
            target.add_(self.times(x))


class MaskedReads:
    """A weight whose products read x times a mask.

    Args:
        weight: W (K, D).
        mask: (B, D); products with fewer rows are those of the first sequences.
    """

    def __init__(self, weight: Weight, mask: Tensor) -> None:
        self.weight, self.mask = weight, mask

    def times(self, x: Tensor) -> Tensor:
        """See `Weight`."""
        return self.weight.times(x * self.mask[: len(x)])

    def add_to(self, target: Tensor, x: Tensor) -> None:
        """See `Weight`."""
        self.weight.add_to(target, x * self.mask[: len(x)])


class MaskedProducts(MaskedReads):
    """A weight whose products are multiplied by a mask, (B, K): the gradient of `MaskedReads`."""

    def times(self, x: Tensor) -> Tensor:
        """See `Weight`."""
        product = self.weight.times(x)
        return product.to(self.mask.dtype).mul_(self.mask[: len(x)])

    def add_to(self, target: Tensor, x: Tensor) -> None:
        """See `Weight`."""
        target.add_(self.times(x))


Product = Weight | MaskedReads
"""A weight for the products of all steps."""


def linear(x: Tensor, matrix: Tensor, bias: Tensor | None = None, *, half: bool = False) -> Tensor:
    """X W^T + b of many rows, in the precision of x.

    Args:
        x: (N, D).
        matrix: W (K, D).
        bias: b (K,).
        half: multiply in bfloat16.

    Returns:
        (N, K), contiguous.
    """
    if half:
        product = linear(x.bfloat16(), matrix.bfloat16(), None if bias is None else bias.bfloat16())
        return product.to(x.dtype)
    if len(x) >= MANY_ROWS and onednn.multiplies(x.dtype):
        return onednn.product(x, onednn.packed(matrix, len(x)), bias)
    return x @ matrix.t() if bias is None else torch.addmm(bias, x, matrix.t())


def outer(rows: Tensor, columns: Tensor, *, half: bool = False) -> Tensor:
    """The sum over N of the products of a row and a column: the gradient of a weight.

    Args:
        rows: (N, K).
        columns: (N, D).
        half: multiply in bfloat16.

    Returns:
        (K, D), in the precision of `rows`.
    """
    if half:
        return (rows.bfloat16().t() @ columns.bfloat16()).to(rows.dtype)
    in_one_piece = rows.is_contiguous() and columns.is_contiguous()  # else oneDNN is slow
    if len(rows) < MANY_ROWS or not in_one_piece or not onednn.multiplies(rows.dtype):
        return rows.t() @ columns
    if rows.shape[1] < columns.shape[1]:  # the smaller one is copied
        return outer(columns, rows).t()
    return onednn.product(columns.t().contiguous(), rows.t()).t()
