"""The sequence itself, y_1..y_Ty, from nothing or from one condition."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from seqpipe.bounds import Count, Share, checked
from seqpipe.errors import ConfigError
from seqpipe.models.architecture import Architecture
from seqpipe.models.bridge import Bridge
from seqpipe.models.decoding import (
    Pick,
    Step,
    bans,
    check_drawing,
    draw,
    draw_each,
    log_probabilities,
    next_input,
    read_guesses,
    write_steps,
)
from seqpipe.models.inputs import InputLayer, embedding_faults, freezing_faults
from seqpipe.models.tying import tie, tied_size
from seqpipe.nn.head import Head, prepared_head
from seqpipe.nn.notes import NOT_WRITTEN, NotesInOrder
from seqpipe.nn.onnx_graph import BOOLEAN, FLOAT, INTEGER, Graph, Steps, Value
from seqpipe.nn.recurrent import GraphState, RecurrentStack, StackState
from seqpipe.nn.stepper import Stepper


def writer_faults(
    y_kind: str,
    keys: str,
    embedding_size: int | None,
    embedding_dropout: int | float,
    tie_embeddings: bool,
    y_vectors: Tensor | str | None,
    freeze_vectors: bool,
) -> Iterator[tuple[str, str]]:
    """Yield the options of `OneToMany` that have no effect with this y: (argument, text)."""
    if tie_embeddings and y_kind == "roll":
        yield "tie_embeddings", "a roll has no embedding; allowed: false"
    if keys != "independent" and y_kind != "roll":
        yield "keys", "a step of y is one symbol and no notes; allowed: independent"
    yield from embedding_faults(y_kind, embedding_size, embedding_dropout)
    yield from freezing_faults(freeze_vectors, "y", y_vectors)


class OneToMany(Architecture):
    """A language model: each step reads its own last y, x<t> = y<t-1>, and <BOS> first.

    A roll, K notes a step, has no <BOS> and no <EOS>: the first step reads silence, and a sample
    has `max_length` steps. With a condition x, a vector or a category, the first state is made
    from it.

    Args:
        y_size: V, or K of a roll.
        decoder: makes the stack from `input_size`; one direction only.
        head: makes the output layers from `input_size` and `output_size`.
        x_kind: None, `vector` or `category`: the condition.
        x_size: width of the vector or number of categories.
        y_kind: `symbols` or `roll`.
        keys: how the notes of a step of a roll depend on each other: `independent`, or
            `autoregressive`, each given the lower ones, see `NotesInOrder`.
        embedding_size: width of a symbol's vector, see `InputLayer`.
        embedding_dropout: of whole symbols, see there.
        tie_embeddings: the embedding is the matrix of the output layer, too, see `tie`.
        freeze_vectors: do not train the embedding.
        y_vectors: (V, D) that the embedding starts from.
        bos: id read at the first step of symbols.
        eos: id that ends a sequence of symbols.

    Raises:
        ConfigError: the decoder has two directions, x is a sequence, or a roll is to be embedded.
    """

    x_kinds = (None, "vector", "category", "number", "ordinal")
    y_kinds = ("symbols", "roll")
    answers = "next_step"
    decoder_starts_in = "a state made from the condition"

    @checked("architecture.", writer_faults)
    def __init__(
        self,
        *,
        y_size: int,
        decoder: Callable[..., RecurrentStack],
        head: Callable[..., Head],
        x_kind: str | None = None,
        x_size: int = 0,
        y_kind: str = "symbols",
        keys: Literal["independent", "autoregressive"] = "independent",
        embedding_size: Count | None = None,
        embedding_dropout: Share = 0.0,
        tie_embeddings: bool = False,
        freeze_vectors: bool = False,
        y_vectors: Tensor | None = None,
        bos: int = 2,
        eos: int = 3,
    ) -> None:
        super().__init__()
        self.check_x(x_kind)
        self.y_kind, self.y_size, self.x_size = y_kind, y_size, x_size
        self.is_roll = y_kind == "roll"
        self.first, self.eos = (0 if self.is_roll else bos), eos
        read_as = "values" if self.is_roll else y_kind
        if tie_embeddings:
            embedding_size = tied_size(embedding_size, y_vectors, decoder, head)
        self.input = InputLayer(
            read_as,
            y_size,
            embedding_size=embedding_size,
            embedding_dropout=embedding_dropout,
            vectors=y_vectors,
            freeze_vectors=freeze_vectors,
        )
        self.decoder = decoder(input_size=self.input.output_size)
        self.check_decoder(self.decoder, has_x=x_kind is not None)
        self.condition: nn.Module | None = None
        if x_kind is not None:
            self.condition, width = _condition_layer(x_kind, x_size, self.decoder.hidden_size)
            self.bridge = Bridge([width] * self.decoder.depth, self.decoder)
        self.head = head(input_size=self.decoder.output_size, output_size=y_size)
        self.in_order: NotesInOrder | None = None
        if keys == "autoregressive":
            width = self.decoder.output_size
            self.in_order = NotesInOrder(width, y_size, hidden_size=width)
            self.reads_within_step = True
        if tie_embeddings:
            tie(self.input, self.head, y_vectors)

    def forward(
        self, x: Tensor | None, x_lengths: Tensor | None, y: Tensor, y_lengths: Tensor
    ) -> Tensor:
        """Logits of every step, given the true steps before it.

        Args:
            x: None, or the condition: (B, D) or (B,) categories.
            x_lengths: not read; a condition has no time.
            y: (B, T_y) ids, or (B, T_y, K) of 0 and 1.
            y_lengths: (B,).

        Returns:
            (B, T_y, V) or (B, T_y, K): step t predicts y_t from y_1..y_{t-1}; with notes in order
            each of them also from the lower ones of y_t.
        """
        logits, _ = self._run(y, y_lengths, self.first, self._first_state(x), final=False)
        return logits

    def start(self, rows: int) -> tuple[Tensor, StackState]:
        """Return the start of sequences: the input before the first y, and the decoder's state."""
        return self._before(rows), self.decoder.initial_state(rows)

    def carry(
        self,
        x: Tensor | None,
        x_lengths: Tensor | None,
        y: Tensor,
        y_lengths: Tensor,
        carried: tuple[Tensor, StackState],
    ) -> tuple[Tensor, tuple[Tensor, StackState]]:
        """Return logits that continue from the last y and the state of the batch before.

        Returns:
            logits; the last y and the state that the next batch starts from.
        """
        assert x is None, "a condition stands before the first y only"
        before, state = carried
        last = y[torch.arange(len(y), device=y.device), y_lengths - 1]
        logits, final_state = self._run(y, y_lengths, before, state)
        return logits, (last, final_state)

    def _run(
        self,
        y: Tensor,
        y_lengths: Tensor,
        before: Tensor | int,
        state: StackState | None,
        *,
        final: bool = True,
    ) -> tuple[Tensor, StackState]:
        inputs = self.input(next_input(y, before))
        outputs, final_state = self.decoder(inputs, y_lengths, state, final=final)
        return self._read_out(outputs, y), final_state

    def _read_out(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The logits of y. outputs: (B, T, H) of the decoder."""
        logits: Tensor = self.head(outputs)
        if self.in_order is not None:
            logits = self.in_order(self.in_order.prepare(logits, outputs), y)
        return logits

    def _before(self, rows: int) -> Tensor:
        """(rows,) <BOS>, or (rows, K) silence: what the first step reads."""
        weight = next(self.parameters())
        if self.is_roll:
            return weight.new_zeros(rows, self.y_size)
        return torch.full((rows,), self.first, device=weight.device)

    def _first_state(self, x: Tensor | None) -> StackState | None:
        if self.condition is None:
            return None
        assert x is not None
        source = self.condition(x)
        state: StackState = self.bridge([source] * self.decoder.depth)
        return state

    @torch.no_grad()
    def free_running(
        self, x: Tensor | None, x_lengths: Tensor | None, y: Tensor, y_lengths: Tensor
    ) -> Tensor:
        """Return logits; each step reads the most likely y of the step before, not the true one.

        That is the most likely symbol; of a roll, each note that is as likely as not. Of y only the
        number of steps is read, and with notes in order the lower notes of each step. Returns (B,
        T_y, V) or (B, T_y, K).
        """

        def guess(logits: Tensor) -> Tensor:
            return (logits >= 0).to(y.dtype) if self.is_roll else logits.argmax(dim=-1)

        step, start = self.prepared_step(*y.shape[:2]), self._start(x, len(y))
        if self.in_order is None:
            return read_guesses(step, *start, y, guess=guess)
        prepared = read_guesses(step, *start, y, guess=self.in_order.likeliest)
        logits: Tensor = self.in_order(prepared, y)
        return logits

    def _start(self, x: Tensor | None, rows: int) -> tuple[Tensor, StackState]:
        """The input of the first step, and the state before it."""
        state = self._first_state(x)
        return self._before(rows), self.decoder.initial_state(rows) if state is None else state

    def prepared_step(self, rows: int, steps: int) -> Step:
        """One step without gradient, from what is read to logits; see `Stepper`.

        With notes in order, to what `NotesInOrder.prepare` gives.
        """
        stepper = Stepper(self.decoder, self.input.vectors, rows=rows, steps=steps)
        head, in_order = prepared_head(self.head, rows, steps), self.in_order

        def step(y_t: Tensor, state: StackState) -> tuple[Tensor, StackState]:
            output, state = stepper(y_t, state)
            logits = head(output)
            return logits if in_order is None else in_order.prepare(logits, output), state

        return step

    @torch.no_grad()
    def log_probabilities(
        self, x: Tensor | None, x_lengths: Tensor | None, y: Tensor, y_lengths: Tensor
    ) -> Tensor:
        """Log p of each y_t given x and y_1..y_{t-1}, in nats, 0 at padding; as `forward`.

        Returns (B, T_y); summed over a row it is log p(y | x).
        """
        return log_probabilities(self(x, x_lengths, y, y_lengths), y, y_lengths)

    @torch.no_grad()
    def sample(
        self,
        x: Tensor | None = None,
        *,
        count: int = 1,
        prompt: Tensor | None = None,
        max_length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        banned: tuple[int, ...] = (),
        stop: bool = True,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """New sequences, drawn step by step with O(1) state a step.

        Args:
            x: the condition of each, (count, D) or (count,), where the model has one.
            count: sequences to draw.
            prompt: the beginning of each, (count, P) ids or (count, P, K) of a roll; P may be 0.
            max_length: steps drawn at most; a roll always has as many.
            temperature: see `draw` and `draw_each`.
            top_k: see `draw`; only for symbols.
            top_p: see `draw`; only for symbols.
            banned: ids never drawn, for example <UNK>; only for symbols.
            stop: end at <EOS>; False: draw `max_length` steps.
            generator: random state, see `draw`.

        Returns:
            the steps after the prompt: ids (count, T) and lengths (count,), <EOS> included; or a
            roll (count, T, K) of 0 and 1.

        Raises:
            ConfigError: see `check_drawing`; `top_k` or `top_p` of a roll.
            TrainingError: the model's outputs are NaN.
        """
        check_drawing(temperature, top_k, top_p, roll=self.is_roll)
        pick: Pick
        if self.is_roll:
            drawn = draw_each if self.in_order is None else self.in_order.draw
            pick = functools.partial(drawn, temperature=temperature, generator=generator)
        else:
            pick = functools.partial(
                draw,
                temperature=temperature,
                banned=bans(self.y_size, banned, next(self.parameters()).device),
                top_k=top_k,
                top_p=top_p,
                generator=generator,
            )
        step = self.prepared_step(count, max_length)
        y_t, state = self._start(x, count)
        if prompt is not None and prompt.shape[1] > 0:
            y_t, state = self._read(prompt, y_t, state)
        eos = self.eos if stop and not self.is_roll else None
        return write_steps(
            step, y_t, state, pick=pick, max_length=max_length, eos=eos, refuse_nan=True
        )

    def _read(self, prompt: Tensor, before: Tensor, state: StackState) -> tuple[Tensor, StackState]:
        """Reads a prompt but for its last step, which the first step drawn reads."""
        assert len(prompt) == len(before), "one prompt for each sequence"
        _, state = self.decoder(self.input(next_input(prompt, before)), None, state)
        return prompt[:, -1], state

    def onnx(self, graph: Graph) -> tuple[Value, Steps]:
        """Writes the model into a graph that continues from a state. Returns (T, B, K).

        Inputs: `y_before`, what each step reads, first of all <BOS> or silence; `lengths`; `fresh`,
        true where a sequence starts: its state is then the initial one, whatever is fed; the parts
        of the state, (depth, B, H); the condition x, where there is one, which `fresh` rows read.
        Outputs besides the answer: the next state, `<part>_next`.

        Raises:
            ConfigError: the notes of a step depend on each other.
        """
        if self.in_order is not None:
            raise ConfigError(f"architecture.keys=autoregressive: {NOT_WRITTEN}")
        vectors, steps = self.input.onnx(graph, "y_before")
        fresh = graph.unsqueezed(graph.input("fresh", BOOLEAN, ("batch",)), 1)
        start = self._onnx_first_state(graph, graph.size(steps.lengths, 0))
        names, stack = self.decoder.cell_state_names, self.decoder
        axes = (stack.depth, "batch", stack.hidden_size)
        fed = [graph.input(name, FLOAT, axes) for name in names]
        state: GraphState = []
        for level, layers in enumerate(start):
            place = graph.constant(level, np.int64)
            given = [graph.op("Gather", part, place, axis=0) for part in fed]
            parts = zip(layers[0], given, strict=True)
            state.append([[graph.op("Where", fresh, first, other) for first, other in parts]])
        outputs, final = stack.onnx(graph, vectors, steps.short, state)
        for number, name in enumerate(names):
            rows = [graph.unsqueezed(layers[0][number], 0) for layers in final]
            graph.output(f"{name}_next", graph.op("Concat", *rows, axis=0), FLOAT, axes)
        outputs = graph.op("Where", steps.real, outputs, graph.constant(0.0))
        return self.head.onnx(graph, outputs), steps

    def _onnx_first_state(self, graph: Graph, rows: Value) -> GraphState:
        """The state that the condition gives, or the initial one."""
        if self.condition is None:
            return self.decoder.onnx_initial(graph, rows)
        if isinstance(self.condition, nn.Embedding):
            ids = graph.input("x", INTEGER, ("batch",))
            source = graph.op("Gather", graph.constant(self.condition.weight), ids, axis=0)
        else:
            source = graph.input("x", FLOAT, ("batch", self.x_size))
        return self.bridge.onnx(graph, [source] * self.decoder.depth)

    def onnx_answers(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the next state."""
        names, stack, fresh = self.decoder.cell_state_names, self.decoder, inputs["fresh"]
        _, start = self._start(inputs.get("x"), len(fresh))
        chosen = fresh.unsqueeze(1)
        state = tuple(
            (
                tuple(
                    torch.where(chosen, first, inputs[name][level])
                    for name, first in zip(names, start[level][0], strict=True)
                ),
            )
            for level in range(stack.depth)
        )
        outputs, final = stack(self.input(inputs["y_before"]), inputs["lengths"], state)
        after = {
            f"{name}_next": torch.stack([layers[0][place] for layers in final])
            for place, name in enumerate(names)
        }
        return self.head(outputs), after


def _condition_layer(kind: str, size: int, hidden_size: int) -> tuple[nn.Module, int]:
    if kind == "vector":
        return nn.Identity(), size
    assert kind == "category", kind
    return nn.Embedding(size, hidden_size), hidden_size
