"""The steps of a decoder that attends to an encoder's outputs: at once, one by one, or in a beam.

Shapes: B sequences, T_y steps, T_x keys, H = decoder.output_size, V symbols.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqpipe.models.decoding import next_input, read_guesses
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.attention import Attention, Keys
from seqpipe.nn.head import prepared_head
from seqpipe.nn.packed import Linear, packed_linear
from seqpipe.nn.penalties import CoveragePenalty
from seqpipe.nn.recurrent import RecurrentStack, StackState, StackStep
from seqpipe.nn.stepper import Stepper


class DecoderState(NamedTuple):
    """The state that passes from one step of the decoder to the next.

    Args:
        stack: the state of its layers.
        fed: (B, H), a_{t-1}, which the next step reads; None without input feeding.
        covered: (B, T_x), the sum of the weights of attention so far; None without coverage.
    """

    stack: StackState
    fed: Tensor | None = None
    covered: Tensor | None = None


AttendedStep = Callable[[Tensor, DecoderState], tuple[Tensor, Any, DecoderState]]
"""A step of the stack, of attention or of both: to a_t (B, H), the weights and the next state."""
Step = Callable[[Tensor, DecoderState, Keys | None], tuple[Tensor, DecoderState]]


class AttendingDecoder(nn.Module):
    """The half of an encoder-decoder that writes y, with attention over x or without.

    Attention follows the recurrent stack: a_t = tanh(W [context_t; h_t]), so that all steps of a
    teacher-forced pass run at once. With `input_feeding` the stack reads [y_{t-1}; a_{t-1}], a_0 =
    0: then each step waits for the attention of the step before it. With coverage, attention does.

    Attributes:
        target: the embedding of y.
        decoder: the recurrent stack.
        attention: None without it.
        combine: W.
        head: the output layers.
        input_feeding: True where a_{t-1} is read.
        covering: penalises what is attended to twice; None: nothing does.
        bos: id read at the first step.

    Source: Luong et al. (2015), equations 5 and 6; section 3.3 for input feeding. For coverage see
    `Attention`.
    """

    target: InputLayer
    decoder: RecurrentStack
    attention: Attention | None
    combine: nn.Linear
    head: nn.Module
    input_feeding: bool
    covering: CoveragePenalty | None
    bos: int

    def _first(self, stack: StackState, keys: Keys | None) -> DecoderState:
        """The decoder's state before its first step. stack: from the encoder."""
        h, fed, covered = stack[0][0][0], None, None
        if self.input_feeding:
            fed = h.new_zeros(len(h), self.decoder.output_size)
        if self.attention is not None and self.attention.coverage:
            assert keys is not None, "attention has keys"
            covered = torch.zeros_like(keys.mask, dtype=torch.promote_types(h.dtype, torch.float32))
        return DecoderState(stack, fed, covered)

    def _forced(
        self, keys: Keys | None, state: DecoderState, y: Tensor, y_lengths: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Reads the true y_{t-1} at each step.

        Returns the input of the head (B, T_y, H), and the weights of attention (B, T_y, T_x).
        """
        attended, weights = self._forced_steps(keys, state, y, y_lengths)
        if self.covering is not None and weights is not None:
            self.covering.keep(weights)
        return attended, weights

    def _forced_steps(
        self, keys: Keys | None, state: DecoderState, y: Tensor, y_lengths: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        inputs = self.target(next_input(y, self.bos))
        if self.input_feeding:
            return self._one_by_one(self._fed_step(self.decoder.steps(len(y)), keys), inputs, state)
        outputs, _ = self.decoder(inputs, y_lengths, state.stack, final=False)
        if state.covered is None:
            return self._attended(outputs, keys)
        return self._one_by_one(partial(self._attend, keys=keys), outputs, state)

    @staticmethod
    def _one_by_one(
        step: AttendedStep, inputs: Tensor, state: DecoderState
    ) -> tuple[Tensor, Tensor | None]:
        """inputs: (B, T, ...) of the steps. Returns as `_forced`."""
        attended, weights = [], []
        for one in inputs.unbind(1):
            a_t, weights_t, state = step(one, state)
            attended.append(a_t)
            weights.append(weights_t)
        return torch.stack(attended, dim=1), torch.stack(weights, dim=1)

    def _fed_step(self, decode: StackStep, keys: Keys | None) -> AttendedStep:
        """The step from y_{t-1}, (B, E) of the embedding. decode: the step of the stack."""

        def step(y_t: Tensor, state: DecoderState) -> tuple[Tensor, Any, DecoderState]:
            read = y_t if state.fed is None else torch.cat([y_t, state.fed], dim=-1)
            output, stack = decode(read, state.stack)
            return self._attend(output, state._replace(stack=stack), keys=keys)

        return step

    def _attend(
        self, output: Tensor, state: DecoderState, *, keys: Keys | None
    ) -> tuple[Tensor, Any, DecoderState]:
        """One step of attention. output: (B, H). Returns a_t, the weights (B, T_x), the state."""
        attended, weights = self._attended(output.unsqueeze(1), keys, state.covered)
        found = attended[:, 0], weights if weights is None else weights[:, 0]
        return *found, _after(state, attended, weights)

    def _attended(
        self,
        outputs: Tensor,
        keys: Keys | None,
        covered: Tensor | None = None,
        combine: Linear | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The outputs with what attention finds for them.

        Args:
            outputs: (N, k, H) of the stack: k steps, or hypotheses, of each sequence.
            keys: None without attention.
            covered: see `DecoderState`, (N * k, T_x).
            combine: `self.combine`, prepared.

        Returns:
            the input of the head (N, k, H); the weights (N, k, T_x), None without attention.
        """
        if self.attention is None:
            return outputs, None
        if covered is not None:
            covered = covered.unflatten(0, outputs.shape[:2])
        context, weights = self.attention(outputs, keys, covered)
        joined = torch.cat([context, outputs], dim=-1)
        return torch.tanh((combine or self.combine)(joined)), weights

    def _forced_in_part(
        self, keys: Keys | None, state: DecoderState, y: Tensor, share: float
    ) -> Tensor:
        """Logits; each sequence and step reads the truth with probability `share`, else a guess."""
        attention: list[Any] = []
        decode, read = self._fed_step(self.decoder.steps(len(y)), keys), self.target.reader()

        def step(symbol: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
            x_t = read(symbol.unsqueeze(1))[:, 0]
            attended, weights, state = decode(x_t, state)
            attention.append(weights)
            return self.head(attended), state

        logits = read_guesses(
            step,
            torch.full_like(y[:, 0], self.bos),
            state,
            y,
            guess=lambda logits: logits.argmax(dim=-1),
            forced_share=share,
        )
        if self.covering is not None:
            self.covering.keep(torch.stack(attention, dim=1))
        return logits

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
            outputs, state = output.view(*symbols.shape, -1), state._replace(stack=stack)
            attended, weights = self._attended(outputs, keys, state.covered, combine)
            return head(attended), _after(state, attended, weights)

        return step


def _after(state: DecoderState, attended: Tensor, weights: Tensor | None) -> DecoderState:
    """The state after attention. attended: (N, k, H); weights: (N, k, T_x)."""
    fed, covered = state.fed, state.covered
    if fed is not None:
        fed = attended.flatten(0, 1)
    if covered is not None and weights is not None:
        covered = covered + weights.flatten(0, 1)
    return DecoderState(state.stack, fed, covered)
