"""A language model whose probabilities are added in the search of another model."""

from collections.abc import Callable

import torch
from torch import Tensor

from seqpipe.models.one_to_many import OneToMany
from seqpipe.nn.ctc import Continued
from seqpipe.nn.nested_state import map_state, state_of_rows
from seqpipe.nn.precision import widest
from seqpipe.nn.recurrent import StackState


class LanguageModel:
    """Scores of the next symbols of y by a language model: a `PrefixScorer`.

    A symbol adds `weight` log p(symbol | those before it) + `bonus`. Without the bonus, a longer y
    would always be less likely. The end of y adds `weight` log p(<EOS>).

    The state of each prefix is kept, so that a prefix that grows by a symbol costs one step.

    Args:
        network: trained on symbols, without a condition; in eval mode.
        ids: (V,) the language model's id of each symbol of y.
        weight: of its log-probabilities.
        bonus: of each symbol, in nats.
        ends: it has learned where a sequence ends, so that the end is scored, too.

    Source: Hannun et al. (2014), "First-pass large vocabulary continuous speech recognition using
    bi-directional recurrent DNNs", equation 3 (log p(y | x) + alpha log p(y) + beta |y|); Graves &
    Jaitly (2014), section 4.
    """

    def __init__(
        self, network: OneToMany, ids: Tensor, *, weight: float, bonus: float, ends: bool
    ) -> None:
        self.network, self.ids, self.ends = network, ids, ends
        self.weight, self.bonus = weight, bonus
        self._step: Callable[[Tensor, StackState], tuple[Tensor, StackState]]

    def start(self, rows: int, steps: int) -> Continued:
        """See `PrefixScorer`."""
        self._step = self.network.prepared_step(rows, steps)
        first, state = self.network.start(1)
        now = self._continued(first, state)
        return Continued(
            self.of_rows(now.state, torch.zeros(rows, dtype=torch.int64, device=first.device)),
            now.symbols.repeat(rows, 1),
            now.end.repeat(rows),
        )

    def grow(self, state: StackState, symbols: Tensor) -> Continued:
        """See `PrefixScorer`."""
        return self._continued(self.ids[symbols], state)

    def _continued(self, read: Tensor, state: StackState) -> Continued:
        """read: (N,) ids of the language model."""
        logits, state = self._step(read, state)
        log_p = self.weight * logits.to(widest(logits.device)).log_softmax(dim=-1)
        end = log_p[:, self.network.eos]
        symbols = log_p.index_select(1, self.ids) + self.bonus
        return Continued(state, symbols, end if self.ends else torch.zeros_like(end))

    def of_rows(self, state: StackState, rows: Tensor) -> StackState:
        """See `PrefixScorer`."""
        found: StackState = state_of_rows(state, rows)
        return found

    def replaced(self, state: StackState, rows: Tensor, by: StackState) -> StackState:
        """See `PrefixScorer`."""
        found: StackState = map_state(lambda one, new: one.index_copy(0, rows, new), state, by)
        return found
