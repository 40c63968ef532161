"""Searching and drawing on a GPU."""

import pytest
import torch
from torch.testing import assert_close

from seqpipe.data.vocabulary import UNK
from seqpipe.nn.ctc import prefix_beam


@pytest.mark.gpu
def test_a_gpu_finds_and_draws_what_a_cpu_does(build, randomise):
    """One seed draws the same on both, as the generator is the CPU's."""
    model = randomise(build("encoder_decoder additive").model).eval()
    x = torch.randint(4, 9, (6, 7), generator=torch.Generator().manual_seed(5))
    x_lengths = torch.tensor([7, 1, 3, 5, 2, 7])
    here = model.beam(x, x_lengths, 6, beam_size=4, n_best=3)
    there = model.cuda().beam(x.cuda(), x_lengths.cuda(), 6, beam_size=4, n_best=3)
    assert there.ids.cpu().equal(here.ids)
    assert there.lengths.cpu().equal(here.lengths)
    assert_close(there.scores.cpu(), here.scores, rtol=0, atol=1e-9)
    logits = torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(0)).double()
    lengths = torch.tensor([9, 4, 7])
    options = {"blank": 0, "beam_size": 6, "n_best": 3, "banned": (2,)}
    here = prefix_beam(logits, lengths, **options)
    there = prefix_beam(logits.cuda(), lengths.cuda(), **options)
    assert there.ids.cpu().equal(here.ids)
    assert_close(there.scores.cpu(), here.scores, rtol=0, atol=1e-9)
    writer = randomise(build("one_to_many").model).eval()
    options = {"count": 5, "top_k": 6, "top_p": 0.9, "max_length": 9, "banned": (UNK,)}
    prompt = torch.full((5, 2), 4)
    drawn = [
        writer.to(device).sample(
            prompt=prompt.to(device), generator=torch.Generator().manual_seed(0), **options
        )
        for device in ("cpu", "cuda")
    ]
    assert drawn[0][0].equal(drawn[1][0].cpu())
    assert drawn[0][1].equal(drawn[1][1].cpu())
