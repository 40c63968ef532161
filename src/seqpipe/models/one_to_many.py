"""The sequence itself, y_1..y_Ty, from nothing or from one condition."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqpipe.errors import ConfigError
from seqpipe.models.bridge import Bridge
from seqpipe.models.decoding import draw, lengths_to_end, next_input
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack, StackState


class OneToMany(nn.Module):
    """A language model: each step reads its own last y, x<t> = y<t-1>, and <BOS> first.

    With a condition x, a vector or a category, the first state is made from it.

    Args:
        y_size: V.
        decoder: makes the stack from `input_size`; one direction only.
        head: makes the output layers from `input_size` and `output_size`.
        x_kind: None, `vector` or `category`: the condition.
        x_size: width of the vector or number of categories.
        embedding_size: width of a symbol's vector, see `InputLayer`.
        bos: id read at the first step.
        eos: id that ends a sequence.

    Raises:
        ConfigError: the decoder has two directions, or x is a sequence.
    """

    def __init__(
        self,
        *,
        y_size: int,
        decoder: Callable[..., RecurrentStack],
        head: Callable[..., Head],
        x_kind: str | None = None,
        x_size: int = 0,
        embedding_size: int | None = None,
        bos: int = 2,
        eos: int = 3,
    ) -> None:
        super().__init__()
        self.bos, self.eos = bos, eos
        self.input = InputLayer("symbols", y_size, embedding_size=embedding_size)
        self.decoder = decoder(input_size=self.input.output_size)
        if self.decoder.directions != 1:
            raise ConfigError(
                "bidirectional=true: architecture=one_to_many would read its own answer backwards,"
                " from y_{t+1} on; bidirectional=false"
            )
        self.condition: nn.Module | None = None
        if x_kind is not None:
            self.condition, width = _condition_layer(x_kind, x_size, self.decoder.hidden_size)
            self.bridge = Bridge([width] * self.decoder.depth, self.decoder)
        self.head = head(input_size=self.decoder.output_size, output_size=y_size)

    def forward(
        self, x: Tensor | None, x_lengths: Tensor | None, y: Tensor, y_lengths: Tensor
    ) -> Tensor:
        """Logits of every step, given the true steps before it.

        Args:
            x: None, or the condition: (B, D) or (B,) categories.
            x_lengths: not read; a condition has no time.
            y: (B, T_y) ids.
            y_lengths: (B,).

        Returns:
            (B, T_y, V): step t predicts y_t from y_1..y_{t-1}.
        """
        inputs = self.input(next_input(y, self.bos))
        outputs, _ = self.decoder(inputs, y_lengths, self._first_state(x))
        logits: Tensor = self.head(outputs)
        return logits

    def _first_state(self, x: Tensor | None) -> StackState | None:
        if self.condition is None:
            return None
        assert x is not None
        source = self.condition(x)
        state: StackState = self.bridge([source] * self.decoder.depth)
        return state

    @torch.no_grad()
    def sample(
        self,
        x: Tensor | None = None,
        *,
        count: int = 1,
        max_length: int = 200,
        temperature: float = 1.0,
        banned: tuple[int, ...] = (),
        stop: bool = True,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """New sequences, drawn symbol by symbol with O(1) state a step.

        Args:
            x: the condition of each, (count, D) or (count,), where the model has one.
            count: sequences to draw.
            max_length: steps at most.
            temperature: see `draw`.
            banned: ids never drawn, for example <UNK>.
            stop: end at <EOS>; False: go on to `max_length`.
            generator: random state.

        Returns:
            ids (count, T) and lengths (count,), <EOS> included.
        """
        state = self._first_state(x)
        if state is None:
            state = self.decoder.initial_state(count)
        device = next(self.parameters()).device
        symbol = torch.full((count,), self.bos, device=device)
        ids: list[Tensor] = []
        for _ in range(max_length):
            output, state = self.decoder.step(self.input(symbol.unsqueeze(1))[:, 0], state)
            symbol = draw(
                self.head(output), temperature=temperature, banned=banned, generator=generator
            )
            ids.append(symbol)
            if stop and bool(torch.stack(ids, dim=1).eq(self.eos).any(dim=1).all()):
                break
        drawn = torch.stack(ids, dim=1)
        lengths = lengths_to_end(drawn, self.eos) if stop else torch.full((count,), len(ids))
        return drawn, lengths


def _condition_layer(kind: str, size: int, hidden_size: int) -> tuple[nn.Module, int]:
    if kind == "vector":
        return nn.Identity(), size
    if kind == "category":
        return nn.Embedding(size, hidden_size), hidden_size
    raise ConfigError(
        f"architecture=one_to_many: x is a sequence ({kind}); a condition is one vector or one"
        " category, and architecture=encoder_decoder reads a sequence"
    )
