"""The steps of a decoder that attends to an encoder's outputs: at once, one by one, or in a beam.

Shapes: B sequences, T_y steps, T_x keys, H = decoder.output_size, V symbols.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqpipe.models.decoding import next_input, read_guesses
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.attention import Attention, Keys
from seqpipe.nn.head import prepared_head
from seqpipe.nn.packed import Linear, packed_linear
from seqpipe.nn.recurrent import RecurrentStack, StackState, StackStep
from seqpipe.nn.stepper import Stepper


class DecoderState(NamedTuple):
    """The state that passes from one step of the decoder to the next.

    Args:
        stack: the state of its layers.
        fed: (B, H), a_{t-1}, which the next step reads; None without input feeding.
    """

    stack: StackState
    fed: Tensor | None = None


Step = Callable[[Tensor, DecoderState, Keys | None], tuple[Tensor, DecoderState]]


class AttendingDecoder(nn.Module):
    """The half of an encoder-decoder that writes y, with attention over x or without.

    Attention follows the recurrent stack: a_t = tanh(W [context_t; h_t]), so that all steps of a
    teacher-forced pass run at once. With `input_feeding` the stack reads [y_{t-1}; a_{t-1}], a_0 =
    0: then each step waits for the attention of the step before it.

    Attributes:
        target: the embedding of y.
        decoder: the recurrent stack.
        attention: None without it.
        combine: W.
        head: the output layers.
        input_feeding: True where a_{t-1} is read.
        bos: id read at the first step.

    Source: Luong et al. (2015), equations 5 and 6; section 3.3 for input feeding.
    """

    target: InputLayer
    decoder: RecurrentStack
    attention: Attention | None
    combine: nn.Linear
    head: nn.Module
    input_feeding: bool
    bos: int

    def _first(self, stack: StackState) -> DecoderState:
        """The decoder's state before its first step. stack: from the encoder."""
        rows = stack[0][0][0]
        fed = rows.new_zeros(len(rows), self.decoder.output_size) if self.input_feeding else None
        return DecoderState(stack, fed)

    def _forced(
        self, keys: Keys | None, state: DecoderState, y: Tensor, y_lengths: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Reads the true y_{t-1} at each step.

        Returns the input of the head (B, T_y, H), and the weights of attention (B, T_y, T_x).
        """
        inputs = self.target(next_input(y, self.bos))
        if not self.input_feeding:
            outputs, _ = self.decoder(inputs, y_lengths, state.stack, final=False)
            return self._attended(outputs, keys)
        steps, step = [], self.decoder.steps()
        for x_t in inputs.unbind(1):
            attended, weights, state = self._fed_step(step, x_t, state, keys)
            steps.append((attended, weights))
        attended, weights = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        return attended, weights

    def _fed_step(
        self, step: StackStep, x_t: Tensor, state: DecoderState, keys: Keys | None
    ) -> tuple[Tensor, Tensor | None, DecoderState]:
        """One step. x_t: (B, E) of the embedding. Returns as `_attended`, and the next state."""
        read = x_t if state.fed is None else torch.cat([x_t, state.fed], dim=-1)
        output, stack = step(read, state.stack)
        attended, weights = self._attended(output.unsqueeze(1), keys)
        return attended, weights, _after(state, stack, attended[:, 0])

    def _attended(
        self, outputs: Tensor, keys: Keys | None, combine: Linear | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The outputs with what attention finds for them.

        Args:
            outputs: (B, T, H) of the stack.
            keys: None without attention.
            combine: `self.combine`, prepared.

        Returns:
            the input of the head (B, T, H); the weights (B, T, T_x), None without attention.
        """
        if self.attention is None:
            return outputs, None
        context, weights = self.attention(outputs, keys)
        joined = torch.cat([context, outputs], dim=-1)
        return torch.tanh((combine or self.combine)(joined)), weights

    def _forced_in_part(
        self, keys: Keys | None, state: DecoderState, y: Tensor, share: float
    ) -> Tensor:
        """Logits; each sequence and step reads the truth with probability `share`, else a guess."""
        decode, read = self.decoder.steps(), self.target.reader()

        def step(symbol: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
            x_t = read(symbol.unsqueeze(1))[:, 0]
            attended, _, state = self._fed_step(decode, x_t, state, keys)
            return self.head(attended)[:, 0], state

        return read_guesses(
            step,
            torch.full_like(y[:, 0], self.bos),
            state,
            y,
            guess=lambda logits: logits.argmax(dim=-1),
            forced_share=share,
        )

    def _prepared_step(self, rows: int, steps: int) -> Step:
        """One step without gradient of hypotheses (N, k), whose states are in rows of N * k.

        Returns a function from symbols (N, k), their state and the keys of N sequences to logits
        (N, k, V) and the next state; see `Stepper` for rows and steps.
        """
        vectors = self.target.vectors
        stepper = Stepper(
            self.decoder, None if self.input_feeding else vectors, rows=rows, steps=steps
        )
        head, combine = prepared_head(self.head, rows, steps), None
        if self.attention is not None:
            weight, bias = self.combine.weight, self.combine.bias
            combine = packed_linear(weight, bias, rows=rows, steps=steps)

        def step(
            symbols: Tensor, state: DecoderState, keys: Keys | None
        ) -> tuple[Tensor, DecoderState]:
            read = symbols.flatten()
            if state.fed is not None:
                assert vectors is not None, "y has symbols"
                read = torch.cat([vectors.index_select(0, read), state.fed], dim=-1)
            output, stack = stepper(read, state.stack)
            attended, _ = self._attended(output.view(*symbols.shape, -1), keys, combine)
            return head(attended), _after(state, stack, attended.flatten(0, -2))

        return step


def _after(state: DecoderState, stack: StackState, attended: Tensor) -> DecoderState:
    """The next state. attended: (B, H)."""
    return DecoderState(stack, None if state.fed is None else attended)


def state_of_rows(state: Any, rows: Tensor) -> Any:
    """The state of the rows given, (N,) places in the batch; one may be given often."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.index_select(0, rows)
    parts = [state_of_rows(part, rows) for part in state]
    return type(state)(*parts) if isinstance(state, DecoderState) else tuple(parts)
