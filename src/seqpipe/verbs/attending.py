"""What a trained encoder-decoder looks at while it answers: some test examples, drawn."""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqpipe.data.base import FieldSpec, SequenceBatch
from seqpipe.models.encoder_decoder import EncoderDecoder
from seqpipe.report.attention import Looks, attention_finding, draw_attention
from seqpipe.report.findings import Finding
from seqpipe.verbs.describe import RunFacts

SHOWN = 4  # examples


@torch.no_grad()
def attention(facts: RunFacts, batch: SequenceBatch, name: str) -> list[Finding]:
    """Draws the attention of a model that has it; nothing of others.

    Args:
        facts: of the run.
        batch: the examples, where the model is and in its precision.
        name: of the run.
    """
    module, spec = facts.module, facts.data.spec
    model = module.model
    if not isinstance(model, EncoderDecoder) or model.attention is None:
        return []
    assert batch.x is not None and batch.x_lengths is not None and spec.x is not None
    module.eval()
    ids, lengths = module.task.predict(model, module(batch), batch)
    weights = model.attention_of(batch.x, batch.x_lengths, ids, lengths).float().cpu()
    looks = []
    for b, (T_x, T_y) in enumerate(zip(batch.x_lengths.tolist(), lengths.tolist(), strict=True)):
        x = _names(batch.x[b, :T_x], spec.x)
        looks.append(Looks(x, _names(ids[b, :T_y], spec.y), weights[b, :T_y, :T_x].numpy()))
    path = facts.folder / "figures" / "attention.png"
    draw_attention(path, looks, title=f"{name}: attention")
    return [attention_finding(looks, path.name)]


def _names(steps: Tensor, field: FieldSpec) -> Sequence[str]:
    """Of each step, where it is a symbol; of spelled words the words. steps: (T,) or (T, ...)."""
    if steps.is_floating_point() or field.names is None:
        return ()
    ids = steps if steps.ndim == 1 else steps[:, 0]
    return [field.names[id_] for id_ in ids.tolist()]
