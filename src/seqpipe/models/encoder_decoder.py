"""A sequence of another length: x_1..x_Tx -> y_1..y_Ty."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqpipe.bounds import Count, NotNegative, Probability, Share, checked
from seqpipe.errors import ConfigError
from seqpipe.models.architecture import Architecture
from seqpipe.models.attending_decoder import AttendingDecoder, DecoderState
from seqpipe.models.beam import Hypotheses, beam_search
from seqpipe.models.bridge import joined, make_bridge, matched_layers, mean_over_steps
from seqpipe.models.decoding import PAD, log_probabilities, write_steps
from seqpipe.models.forcing import Decay, TeacherForced, forcing_faults
from seqpipe.models.inputs import EMBEDDED, InputLayer, freezing_faults, spelling_faults
from seqpipe.models.tying import tie, tied_size
from seqpipe.nn.attention import Attention, Keys
from seqpipe.nn.head import Head
from seqpipe.nn.masks import length_mask
from seqpipe.nn.nested_state import state_of_rows
from seqpipe.nn.onnx_graph import Graph, Steps, Value
from seqpipe.nn.penalties import CoveragePenalty
from seqpipe.nn.precision import precise
from seqpipe.nn.recurrent import RecurrentStack, StackState
from seqpipe.rules import refusal

AttentionKind = Literal["none", "dot", "general", "additive"]


def translator_faults(
    x_kind: str | None,
    attention: str,
    input_feeding: bool,
    coverage: bool,
    coverage_penalty: int | float,
    bridge: str,
    teacher_forcing: int | float,
    teacher_forcing_decay: Any,
    characters: str | None,
    characters_size: int | None,
    freeze_vectors: bool,
    x_vectors: Tensor | str | None,
    y_vectors: Tensor | str | None,
) -> Iterator[tuple[str, str]]:
    """Yield the options of `EncoderDecoder` that have no effect: (argument, text)."""
    yield from forcing_faults(teacher_forcing, teacher_forcing_decay)
    yield from spelling_faults(x_kind, characters, characters_size)
    yield from freezing_faults(freeze_vectors, "x", x_vectors, y_vectors)
    if coverage and attention != "additive":
        text = f"attention={attention} does not read what is covered"
        yield "coverage", f"{text}; allowed: false, or also architecture.attention=additive"
    if coverage_penalty > 0 and not coverage:
        text = "attention does not read what is covered"
        yield "coverage_penalty", f"{text}; allowed: 0, or also architecture.coverage=true"
    if attention == "none":
        allowed = "or also architecture.attention=additive"
        if input_feeding:
            text = "without attention there is no attentional vector to read"
            yield "input_feeding", f"{text}; allowed: false, {allowed}"
        if bridge == "zero":
            yield "bridge", f"without attention y would not depend on x; allowed: last, {allowed}"


class EncoderDecoder(TeacherForced, AttendingDecoder, Architecture):
    """An encoder reads x, a decoder writes y, with attention over the encoder's outputs or not.

    See `AttendingDecoder` for the steps of the decoder. Its first state is made from x as `bridge`
    says: `last`, from the last state (all parts and directions) of a layer of the encoder, by a
    linear map and tanh; `copy`, this state itself, directions side by side; `mean`, from the mean
    of the encoder's outputs, by a linear map and tanh; `zero`, 0, so that x is read by attention
    only. Of a deeper encoder the top layers count, in a deeper decoder the top one several times.

    Args:
        x_kind: `symbols`, `spelled` or `values`.
        x_size: V or D of x.
        y_size: V of y.
        encoder: makes the encoder from `input_size`.
        decoder: makes the decoder from `input_size`; one direction.
        head: makes the output layers from `input_size` and `output_size`.
        attention: `none`, `dot`, `general` or `additive`.
        input_feeding: each step also reads the attentional vector of the step before it.
        coverage: additive attention also reads the sum of its weights so far.
        coverage_penalty: of attention to what is covered, see `CoveragePenalty`; See et al. use 1.
        bridge: what the decoder starts from: `last`, `copy`, `mean` or `zero`.
        teacher_forcing: probability that a training step reads y_{t-1} rather than its own guess.
            Evaluation of the loss always reads y_{t-1}; `greedy` never does.
        teacher_forcing_decay: of that probability with the updates; None: it stays.
        embedding_size: width of a symbol's vector (of x where it has symbols, and of y).
        embedding_dropout: of whole symbols of x and y, see `InputLayer`.
        tie_embeddings: the embedding of y is the matrix of the output layer, too, see `tie`.
        characters: what reads the characters of a spelled word, see `InputLayer`.
        characters_size: width of the vector that it makes of a word.
        freeze_vectors: do not train the embeddings that have vectors to start from.
        x_characters: how many characters there are, where words are spelled.
        x_vectors: (V, D) that the embedding of x starts from.
        y_vectors: (V, D) that the embedding of y starts from.
        bos: id read at the first step.
        eos: id that ends a sequence.

    Raises:
        ConfigError: `attention=dot` with widths that differ; see `CopiedState` for `bridge=copy`.

    Source: Sutskever et al. (2014), also for `copy`; Cho et al. (2014), appendix A.2, for `last`;
    Sennrich et al. (2017), "Nematus", equation 1, for `mean`; Bengio et al. (2015) for teacher
    forcing below 1.
    """

    read_before_y = ("encoder",)
    """Stacks that have read all of x before y begins."""

    x_kinds = ("values", "symbols", "spelled")
    y_kinds = ("symbols",)
    answers = "sequence"
    decoder_starts_in = "the state that architecture.bridge chooses"

    @checked("architecture.", translator_faults)
    def __init__(
        self,
        *,
        x_kind: str,
        x_size: int,
        y_size: int,
        encoder: Callable[..., RecurrentStack],
        decoder: Callable[..., RecurrentStack],
        head: Callable[..., Head],
        attention: AttentionKind = "additive",
        input_feeding: bool = False,
        coverage: bool = False,
        coverage_penalty: NotNegative = 0.0,
        bridge: Literal["last", "copy", "mean", "zero"] = "last",
        teacher_forcing: Probability = 1.0,
        teacher_forcing_decay: Decay | None = None,
        embedding_size: Count | None = None,
        embedding_dropout: Share = 0.0,
        tie_embeddings: bool = False,
        characters: Literal["cnn", "lstm"] | None = None,
        characters_size: Count | None = None,
        freeze_vectors: bool = False,
        x_characters: int | None = None,
        x_vectors: Tensor | None = None,
        y_vectors: Tensor | None = None,
        bos: int = 2,
        eos: int = 3,
    ) -> None:
        super().__init__()
        self.y_size, self.bos, self.eos = y_size, bos, eos
        self.input_feeding, self.bridge_from = input_feeding, bridge
        self.start_forcing(teacher_forcing, teacher_forcing_decay)
        self.input = InputLayer(
            x_kind,
            x_size,
            embedding_size=embedding_size if x_kind in EMBEDDED else None,
            embedding_dropout=embedding_dropout if x_kind in EMBEDDED else 0.0,
            alphabet=x_characters,
            characters=characters,
            characters_size=characters_size,
            vectors=x_vectors,
            freeze_vectors=freeze_vectors and x_vectors is not None,
        )
        self.encoder = encoder(input_size=self.input.output_size)
        if tie_embeddings:
            embedding_size = tied_size(embedding_size, y_vectors, decoder, head)
        self.target = InputLayer(
            "symbols",
            y_size,
            embedding_size=embedding_size,
            embedding_dropout=embedding_dropout,
            vectors=y_vectors,
            freeze_vectors=freeze_vectors and y_vectors is not None,
        )
        self.decoder = self._make_decoder(decoder)
        self.bridge = make_bridge(bridge, self.encoder, self.decoder)
        self._add_attention(attention, coverage, coverage_penalty)
        self.head = head(input_size=self.decoder.output_size, output_size=y_size)
        if tie_embeddings:
            tie(self.target, self.head, y_vectors)

    def _add_attention(self, kind: AttentionKind, coverage: bool, penalty: float) -> None:
        """Attention over the encoder's outputs, W of `AttendingDecoder`, and the penalty."""
        self.covering = CoveragePenalty(penalty) if penalty > 0 else None
        self.attention = None
        if kind != "none":
            sizes = self.decoder.output_size, self.encoder.output_size
            self.attention = Attention(*sizes, kind=kind, coverage=coverage)
            self.combine = nn.Linear(sum(sizes), self.decoder.output_size)

    def _make_decoder(self, make: Callable[..., RecurrentStack]) -> RecurrentStack:
        """A stack that reads y_{t-1}, and a_{t-1}, as wide as its own output, where it is fed."""
        read = self.target.output_size
        if self.input_feeding:
            with torch.random.fork_rng(devices=[]):
                read += make(input_size=read).output_size
        decoder = make(input_size=read)
        self.check_decoder(decoder, has_x=True)
        return decoder

    def forward(self, x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: Tensor) -> Tensor:
        """Logits of every step of y.

        Args:
            x: (B, T_x) or (B, T_x, 1 + C) ids, or (B, T_x, D).
            x_lengths: (B,).
            y: (B, T_y) ids.
            y_lengths: (B,).

        Returns:
            (B, T_y, V).
        """
        keys, state = self._encode(x, x_lengths)
        if self.training and self.forced_share < 1.0:
            return self._forced_in_part(keys, state, y, share=self.forced_share)
        logits: Tensor = self.head(self._forced(keys, state, y, y_lengths)[0])
        return logits

    @torch.no_grad()
    def log_probabilities(
        self, x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: Tensor
    ) -> Tensor:
        """Log p of each y_t given x and y_1..y_{t-1}, in nats, 0 at padding; as `forward`.

        Returns (B, T_y); summed over a row it is log p(y | x).
        """
        keys, state = self._encode(x, x_lengths)
        logits = self.head(self._forced(keys, state, y, y_lengths)[0])
        return log_probabilities(logits, y, y_lengths)

    def onnx(self, graph: Graph) -> tuple[Value, Steps]:
        """Refuses: a graph has no loop that reads its own last answer.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "architecture=encoder_decoder: is not written as ONNX: it answers step by step, each"
            " reading its own last answer; allowed: format=safetensors"
        )

    @property
    def attends(self) -> bool:
        """True where the model has attention."""
        return self.attention is not None

    @torch.no_grad()
    def attention_of(self, x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: Tensor) -> Tensor:
        """Return the attention weights of each step of y over x; arguments as of `forward`.

        Returns (B, T_y, T_x): 0 at padding of either, sum 1 over the steps of x elsewhere.

        Raises:
            ConfigError: the model has no attention.
        """
        if self.attention is None:
            wrong = "the model has no weights to show"
            allowed = "a model trained with architecture.attention=dot, general or additive"
            raise ConfigError(refusal("architecture.attention", "none", wrong, allowed))
        keys, state = self._encode(x, x_lengths)
        weights = self._forced(keys, state, y, y_lengths)[1]
        assert weights is not None, "the model has attention"
        real = length_mask(y_lengths, y.shape[1]).unsqueeze(2)
        return weights.masked_fill(~real, 0.0)

    @torch.no_grad()
    def free_running(self, x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: Tensor) -> Tensor:
        """Return logits; each step reads the most likely symbol of the step before, not y_{t-1}.

        Of y only the number of steps is read. Returns (B, T_y, V).
        """
        keys, state = self._encode(x, x_lengths)
        return self._forced_in_part(keys, state, y, share=0.0)

    @torch.no_grad()
    def greedy(
        self, x: Tensor, x_lengths: Tensor, max_length: int, *, banned: tuple[int, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """The most likely symbol at each step, read back at the next; never <PAD> or <BOS>.

        Args:
            x: as of `forward`.
            x_lengths: (B,).
            max_length: steps at most.
            banned: more ids that are never written, for example <UNK>.

        Returns:
            ids (B, T) and lengths (B,), <EOS> included where it came within `max_length` steps.
        """
        keys, state = self._encode(x, x_lengths)
        never = torch.tensor((PAD, self.bos, *banned), device=x.device, dtype=torch.int64)
        read = self._prepared_step(len(x), max_length)

        def step(y_t: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
            logits, state = read(y_t.unsqueeze(1), state, keys)
            return logits[:, 0], state

        return write_steps(
            step,
            torch.full((len(x),), self.bos, device=x.device),
            state,
            pick=lambda logits: logits.index_fill_(-1, never, -torch.inf).argmax(dim=-1),
            max_length=max_length,
            eos=self.eos,
        )

    @torch.no_grad()
    def beam(
        self,
        x: Tensor,
        x_lengths: Tensor,
        max_length: int,
        *,
        beam_size: int,
        length_penalty: float = 0.6,
        n_best: int = 1,
        banned: tuple[int, ...] = (),
    ) -> Hypotheses:
        """The n best answers that beam search finds; never with <PAD> or <BOS>.

        Args:
            x: as of `forward`.
            x_lengths: (B,).
            max_length: steps at most.
            beam_size: hypotheses at each step; 1 is `greedy`.
            length_penalty: alpha of `length_norm`; 0: rank by log p alone.
            n_best: answers of each x, at most `beam_size`.
            banned: more ids that are never written, for example <UNK>.

        Raises:
            ConfigError: see `check_beam`.
        """
        keys, state = self._encode(x, x_lengths)
        never = torch.tensor((PAD, self.bos, *banned), device=x.device, dtype=torch.int64)
        read = self._prepared_step(len(x) * beam_size, max_length)
        width = 1

        def step(symbols: Tensor, parents: Tensor) -> Tensor:
            nonlocal keys, state, width
            state = state_of_rows(state, parents.flatten())
            if keys is not None and len(symbols) < len(keys.mask):
                keys = keys.of_rows(parents[:, 0] // width)
            width = symbols.shape[1]
            logits, state = read(symbols, state, keys)
            return precise(logits).log_softmax(dim=-1).index_fill_(-1, never, -torch.inf)

        return beam_search(
            step,
            len(x),
            first=self.bos,
            eos=self.eos,
            max_length=max_length,
            beam_size=beam_size,
            length_penalty=length_penalty,
            n_best=n_best,
            device=x.device,
        )

    def _encode(self, x: Tensor, x_lengths: Tensor) -> tuple[Keys | None, DecoderState]:
        """The keys of attention (None without it), and the decoder's first state."""
        memory, final = self.encoder(self.input(x), x_lengths)
        keys = None
        if self.attention is not None:
            keys = self.attention.prepare(memory, length_mask(x_lengths, memory.shape[1]))
        return keys, self._first(self._bridged(memory, final, x_lengths), keys)

    def _bridged(self, memory: Tensor, final: StackState, x_lengths: Tensor) -> StackState:
        """The first state of the decoder's layers, from the encoder's outputs and final state."""
        if self.bridge is None:
            return self.decoder.initial_state(len(memory))
        sources: Sequence[Any] = [mean_over_steps(memory, x_lengths)] * self.decoder.depth
        levels = matched_layers(len(final), self.decoder.depth)
        if self.bridge_from == "last":
            sources = [self.encoder.drops[level + 1](joined(final[level])) for level in levels]
        elif self.bridge_from == "copy":
            sources = [final[level] for level in levels]
        state: StackState = self.bridge(sources)
        return state
