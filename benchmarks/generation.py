"""Compares sampling with a loop over torch's cells, and beam search with greedy decoding.

    python benchmarks/generation.py [--characters 2000] [--batches 1 16 64] [--pairs 5]

Sampling: one layer of 512 with random weights writes a text, one character at a time. The loop by
hand has the same sizes: embedding, nn.LSTMCell or nn.GRUCell, linear layer, softmax,
torch.multinomial. Above 1, ours is faster.

Translating: an encoder-decoder with additive attention, 256 wide, reads sentences of 5 to 13 words
and writes 20, since <EOS> is banned: greedy decoding and a beam of 5 take the same number of steps.
Greedy decoding is compared with a loop by hand, too: torch's layers, each step of a whole batch.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import Row, add_clock, in_turns, parser_of, ratio, report
from torch import Tensor, nn

from seqpipe.data.vocabulary import BOS, EOS, PAD, UNK
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.models.one_to_many import OneToMany
from seqpipe.nn.cells import GRU, LSTM, PeepholeLSTM, SimplifiedGRU
from seqpipe.nn.head import Head
from seqpipe.nn.recurrent import RecurrentStack

CELLS: dict[str, tuple[Callable[..., Any], type[nn.RNNCellBase], float]] = {
    "lstm": (LSTM, nn.LSTMCell, 1.3),
    "lstm_peephole": (PeepholeLSTM, nn.LSTMCell, 1.0),
    "gru": (GRU, nn.GRUCell, 1.0),
    "gru reset_after": (partial(GRU, reset_after=True), nn.GRUCell, 1.0),
    "gru_simplified": (SimplifiedGRU, nn.GRUCell, 1.0),
}
"""Our cell, torch's cell, and the goal for the loop's time over ours."""

CHARACTERS, WIDE = 100, 512
WORDS, HIDDEN, STEPS, BEAM = 6_000, 256, 20, 5


def main() -> None:
    """Prints the rows of all cells and batches."""
    parser = parser_of(__doc__)
    add_clock(parser)
    parser.add_argument("--characters", type=int, default=2_000, help="of a text")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [sampling(cell, arguments) for cell in CELLS]
    for sentences in arguments.batches:
        rows += translating(sentences, arguments)
    report(rows, arguments)


def sampling(name: str, arguments: argparse.Namespace) -> Row:
    """The loop's time over ours, of one cell."""
    make, reference, goal = CELLS[name]
    model = OneToMany(y_size=CHARACTERS, decoder=stack_of(make, WIDE), head=Head).eval()
    embedding, cell = nn.Embedding(CHARACTERS, CHARACTERS), reference(CHARACTERS, WIDE)
    output, count = nn.Linear(WIDE, CHARACTERS), arguments.characters
    seconds = in_turns(
        {
            "ours": lambda: model.sample(max_length=count, stop=False, banned=(PAD, UNK, BOS)),
            "loop": lambda: text_by_hand(embedding, cell, output, count),
        },
        pairs=arguments.pairs,
        clock=arguments.clock,
        warm_up=1,
    )
    ours, theirs = (statistics.median(seconds[side]) / count * 1e6 for side in ("ours", "loop"))
    return Row(
        f"sampling, 1 x {WIDE} {name}: time of a loop over nn.{reference.__name__} / ours",
        ratio(seconds["loop"], seconds["ours"]),
        goal,
        at_least=True,
        note=f"{ours:.0f} us a character, the loop {theirs:.0f}",
    )


@torch.no_grad()
def text_by_hand(embedding: nn.Module, cell: nn.Module, output: nn.Module, count: int) -> list[int]:
    """A text as people write the loop."""
    y, state, text = torch.tensor([BOS]), None, []
    for _ in range(count):
        state = cell(embedding(y), state)
        h = state[0] if isinstance(state, tuple) else state
        y = torch.multinomial(torch.softmax(output(h), dim=-1), 1)[:, 0]
        text.append(y.item())
    return text


def translating(sentences: int, arguments: argparse.Namespace) -> list[Row]:
    """A beam against greedy decoding, and greedy decoding against the loop by hand."""
    model = EncoderDecoder(
        x_kind="symbols",
        x_size=WORDS,
        y_size=WORDS,
        encoder=stack_of(LSTM, HIDDEN),
        decoder=stack_of(LSTM, HIDDEN),
        head=Head,
    ).eval()
    by_hand = Translator().eval()
    lengths = torch.randint(5, 14, (sentences,))
    lengths[0] = 13
    x = torch.randint(EOS + 1, WORDS, (sentences, 13))
    x = x.where(torch.arange(13) < lengths.unsqueeze(1), PAD)
    seconds = in_turns(
        {
            "beam": lambda: model.beam(x, lengths, STEPS, beam_size=BEAM, banned=(EOS,)),
            "greedy": lambda: model.greedy(x, lengths, STEPS, banned=(EOS,)),
            "loop": lambda: by_hand(x, STEPS),
        },
        pairs=arguments.pairs,
        clock=arguments.clock,
        warm_up=1,
    )
    beam, greedy, loop = (
        f"{statistics.median(seconds[side]) / STEPS * 1e3:.2f} ms"
        for side in ("beam", "greedy", "loop")
    )
    batch = f"batch of {sentences}, V = {WORDS:,}"
    return [
        Row(
            f"translating, {batch}: beam {BEAM} / greedy",
            ratio(seconds["beam"], seconds["greedy"]),
            3.0,
            note=f"{beam} a step, greedy {greedy}",
        ),
        Row(
            f"translating, {batch}: greedy, time of a loop over nn.LSTMCell / ours",
            ratio(seconds["loop"], seconds["greedy"]),
            note=f"the loop {loop} a step",
        ),
    ]


class Translator(nn.Module):
    """The encoder-decoder as people write it, with torch's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(WORDS, 128), nn.Embedding(WORDS, 128)
        self.encoder, self.decoder = (
            nn.LSTM(128, HIDDEN, batch_first=True),
            nn.LSTMCell(128, HIDDEN),
        )
        self.start = nn.Linear(2 * HIDDEN, 2 * HIDDEN)
        self.of_query = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.of_key, self.score = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1, bias=False)
        self.combine, self.output = nn.Linear(2 * HIDDEN, HIDDEN), nn.Linear(HIDDEN, WORDS)

    @torch.no_grad()
    def forward(self, x: Tensor, steps: int) -> Tensor:
        """x: (B, T_x) ids, 0 at padding. Returns (B, steps)."""
        memory, (h, c) = self.encoder(self.source(x))
        h, c = torch.tanh(self.start(torch.cat([h[0], c[0]], dim=1))).chunk(2, dim=1)
        keys, y, written = self.of_key(memory), torch.full((len(x),), BOS), []
        for _ in range(steps):
            h, c = self.decoder(self.target(y), (h, c))
            mixed = torch.tanh(self.of_query(h).unsqueeze(1) + keys)
            weights = self.score(mixed).squeeze(2).masked_fill(x == PAD, -torch.inf).softmax(dim=1)
            context = (weights.unsqueeze(1) @ memory).squeeze(1)
            logits = self.output(torch.tanh(self.combine(torch.cat([context, h], dim=1))))
            logits[:, [PAD, BOS, EOS]] = -torch.inf
            y = logits.argmax(dim=1)
            written.append(y)
        return torch.stack(written, dim=1)


def stack_of(cell: Callable[..., Any], hidden_size: int) -> Callable[..., RecurrentStack]:
    """Makes a stack of one layer from its input size."""
    return lambda input_size: RecurrentStack(input_size, cell=cell, hidden_size=hidden_size)


if __name__ == "__main__":
    main()
