"""The notes of one step of a roll, each given those below it: a neural autoregressive distribution.

    p(y_t) = product over k of p(y_tk | y_t1..y_t(k-1), h_t)
    logit_k = l_k + V_k . σ(c + U h_t + sum of W_j over the notes j < k that sound)

where l = l(h_t) are the logits of independent notes. Without V the notes are independent.

Shapes: N steps, K notes, D = width of h_t, H hidden units, S sounding notes of a step at most.
Source: Larochelle & Murray (2011), "The neural autoregressive distribution estimator", equations 8
and 9; Boulanger-Lewandowski et al. (2012), section 6, the RNN-NADE, whose biases depend on h_t.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqpipe.nn.precision import precise

NOT_WRITTEN = (
    "is not written as ONNX: the notes of a step are drawn one after another;"
    " allowed: format=safetensors"
)


class NotesInOrder(nn.Module):
    """Logits of the notes of each step, the lowest first, each given the lower ones.

    Args:
        input_size: D.
        notes: K.
        hidden_size: H.

    Attributes:
        hidden: c + U h.
        sounding: W, (K, H).
        seen: V, (K, H).
    """

    def __init__(self, input_size: int, notes: int, hidden_size: int) -> None:
        super().__init__()
        self.notes = notes
        self.hidden = nn.Linear(input_size, hidden_size)
        self.sounding = nn.Parameter(torch.empty(notes, hidden_size))
        self.seen = nn.Parameter(torch.empty(notes, hidden_size))
        for weight in (self.sounding, self.seen):
            nn.init.uniform_(weight, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))

    def prepare(
        self, alone: Float[Tensor, "*batch K"], h: Float[Tensor, "*batch D"]
    ) -> Float[Tensor, "*batch K_H"]:
        """All that the notes of a step depend on besides each other, side by side.

        alone: l, (..., K); h: (..., D). Returns (..., K + H).
        """
        return torch.cat([alone, self.hidden(h)], dim=-1)

    def forward(
        self, prepared: Float[Tensor, "*batch K_H"], y: Float[Tensor, "*batch K"]
    ) -> Float[Tensor, "*batch K"]:
        """Logits of every note of every step, given the true notes below it, all at once.

        The hidden units change only where a note sounds: S + 1 times a step in place of K.

        Args:
            prepared: (..., K + H).
            y: (..., K) of 0 and 1.
        """
        rows = prepared.flatten(0, -2)
        alone, hidden = rows[:, : self.notes], rows[:, self.notes :]
        sounds = y.flatten(0, -2) > 0.5
        counts = sounds.sum(dim=1)
        S = int(counts.max()) if y.device.type == "cpu" else self.notes  # no GPU is waited for
        order = sounds.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :S]
        there = torch.arange(S, device=y.device) < counts.unsqueeze(1)
        added = self.sounding[order].masked_fill(~there.unsqueeze(2), 0.0)  # (N, S, H)
        first = torch.zeros_like(hidden).unsqueeze(1)
        sums = hidden.unsqueeze(1) + torch.cat([first, added], dim=1).cumsum(dim=1)
        logits = sums.sigmoid() @ self.seen.t()  # (N, S + 1, K)
        below = (sounds.cumsum(dim=1) - sounds.long()).unsqueeze(1)
        return (alone + logits.gather(1, below)[:, 0]).view_as(y)

    @torch.no_grad()
    def draw(
        self,
        prepared: Float[Tensor, "B K_H"],
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B K"]:
        """The notes of a step, drawn one after another: 1 with probability σ(logit / temperature).

        Args:
            prepared: (B, K + H).
            temperature: above 0.
            generator: random state, on any device; None: torch's global one.
        """
        device = prepared.device if generator is None else generator.device
        chances = torch.rand(
            len(prepared), self.notes, device=device, generator=generator, dtype=torch.float32
        )
        return self._one_by_one(prepared, chances.to(prepared.device), temperature)

    @torch.no_grad()
    def likeliest(self, prepared: Float[Tensor, "B K_H"]) -> Float[Tensor, "B K"]:
        """The notes of a step, each 1 where it is as likely as not. prepared: (B, K + H)."""
        chances = torch.full_like(prepared[:, : self.notes], 0.5)
        return self._one_by_one(prepared, chances, 1.0)

    def _one_by_one(self, prepared: Tensor, chances: Tensor, temperature: float) -> Tensor:
        """A note is 1 where its probability is at least its chance. chances: (B, K) in [0, 1)."""
        alone, sums = prepared[:, : self.notes], prepared[:, self.notes :]
        written = torch.zeros_like(alone)
        hidden = sums.sigmoid()
        for k in range(self.notes):
            logits = alone[:, k] + hidden @ self.seen[k]
            one = chances[:, k] <= precise(logits / temperature).sigmoid()
            if bool(one.any()):
                written[:, k] = one
                sums = sums + one.unsqueeze(1) * self.sounding[k]
                hidden = sums.sigmoid()
        return written
