"""The real steps of a padded batch, packed in the order in which a loop over time reads them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class PackedSteps:
    """Real steps one time step after another, in each the longest sequence first.

    So the sequences that still run at step t are the first ones of those at step t - 1, and a loop
    computes nothing at padding. N is the number of all real steps.

    Args:
        counts: sequences that run at each step; T numbers, none greater than the one before.
        rows: (N,) for each packed step its place in the flattened batch, b * T + t.
        order: (B,) the sequences, longest first; None: as they are, all of them have T steps.
        T: steps of the padded batch.
        in_order: True where packing is no more than putting time first.
    """

    counts: list[int]
    rows: Int[Tensor, " N"]
    order: Int[Tensor, " B"] | None
    T: int
    in_order: bool

    @property
    def B(self) -> int:
        """The number of sequences."""
        return self.counts[0]

    def pack(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "N D"]:
        """The real steps of a padded batch."""
        if self.in_order:
            return x.transpose(0, 1).reshape(-1, x.shape[2])
        return x.reshape(-1, x.shape[2]).index_select(0, self.rows)

    def unpack(self, packed: Float[Tensor, "N D"]) -> Float[Tensor, "B T D"]:
        """The padded batch, 0 at padding, in memory of its own."""
        D = packed.shape[1]
        if self.in_order:
            by_time = packed.view(self.T, self.B, D).transpose(0, 1)
            return by_time.clone(memory_format=torch.contiguous_format)
        places = self.B * self.T
        padded = packed.new_zeros if len(packed) < places else packed.new_empty
        room = padded(self.B, self.T, D)  # no view: outputs of a kernel may be changed in place
        room.view(places, D).index_copy_(0, self.rows, packed)
        return room

    def sort(self, state: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        """One row for each sequence, longest first."""
        return state if self.order is None else state.index_select(0, self.order)

    def unsort(self, state: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        """One row for each sequence, in the order of the batch, in memory of its own."""
        if self.order is None:
            return state.clone()
        return torch.empty_like(state).index_copy_(0, self.order, state)

    def steps(self, packed: Tensor) -> tuple[Tensor, ...]:
        """Packed steps (N, ...), one time step after another: T of (n, ...)."""
        if self.order is None:
            return torch.unbind(packed.view(self.T, self.B, *packed.shape[1:]))
        pieces: tuple[Tensor, ...] = packed.split(self.counts)
        return pieces

    def before(self, states: Tensor) -> list[Tensor]:
        """The state that each step reads.

        Args:
            states: (B + N, H), the first state of each sequence, then those after each step.

        Returns:
            T of (n, H).
        """
        if self.order is None:
            return list(torch.unbind(states.view(self.T + 1, self.B, *states.shape[1:])[:-1]))
        after = states.split([self.B, *self.counts])
        return [state[:n] for state, n in zip(after, self.counts, strict=False)]

    def all_before(self, states: Tensor) -> Tensor:
        """`before` of all steps in one piece, (N, H)."""
        N = len(states) - self.B
        if self.order is None:
            return states[:N]
        counts = torch.tensor(self.counts)
        gone = self.B - torch.cat([counts.new_tensor([self.B]), counts[:-1]])
        return states.index_select(0, torch.arange(N) + gone.repeat_interleave(counts))

    def last(self, states: Tensor) -> Tensor:
        """The state after the last real step of each sequence, sorted as `sort` sorts: (B, H)."""
        if self.order is None:
            return states[-self.B :]
        return states.index_select(0, self.last_rows())

    def last_rows(self) -> Int[Tensor, " B"]:
        """The row of `last` in (B + N, H), of each sequence, longest first."""
        counts = torch.tensor(self.counts)
        place = torch.arange(self.B)
        steps = (counts.unsqueeze(1) > place).sum(0)  # of each sequence
        return counts.cumsum(0)[steps - 1] - counts[steps - 1] + self.B + place


def pack_steps(
    lengths: Int[Tensor, " B"] | None, B: int, T: int, *, reverse: bool = False
) -> PackedSteps:
    """The steps of a batch.

    Args:
        lengths: (B,) real steps, 1..T; None: all T.
        B: sequences.
        T: steps, padding included.
        reverse: each sequence is read from its last real step to its first.
    """
    t = torch.arange(T).unsqueeze(1)
    if lengths is None or B == 0:
        rows = torch.arange(B) * T + (T - 1 - t if reverse else t)
        return PackedSteps([B] * T, rows.flatten(), None, T, in_order=not reverse)
    descending, order = lengths.sort(descending=True, stable=True)
    runs = t < descending  # (T, B)
    rows = order * T + (descending - 1 - t if reverse else t)
    counts = [count for count in runs.sum(1).tolist() if count]
    return PackedSteps(counts, rows[runs], order, T, in_order=False)
