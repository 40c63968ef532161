"""An architecture of one's own: one answer for a sequence, from a weighted mean of its steps."""

import torch

from seqpipe.models.architecture import Architecture
from seqpipe.models.inputs import InputLayer
from seqpipe.nn.masks import length_mask


class Attentive(Architecture):
    """y = head(sum_t softmax_t(v . h_t) h_t)."""

    x_kinds = ("symbols", "values")
    y_kinds = ("category", "ordinal", "number", "multi_label")
    answers = "whole"  # one answer for the whole x

    def __init__(self, *, x_kind, x_size, output_size, encoder, head):
        super().__init__()
        self.input = InputLayer(x_kind, x_size)  # symbols become vectors
        self.encoder = encoder(input_size=self.input.output_size)
        self.score = torch.nn.Linear(self.encoder.output_size, 1, bias=False)
        self.head = head(input_size=self.encoder.output_size, output_size=output_size)

    def forward(self, x, x_lengths, y=None, y_lengths=None):
        outputs, _ = self.encoder(self.input(x), x_lengths)  # (B, T, H)
        padding = ~length_mask(x_lengths, outputs.shape[1]).unsqueeze(2)
        weights = self.score(outputs).masked_fill(padding, -torch.inf).softmax(dim=1)
        return self.head((weights * outputs).sum(dim=1))  # (B, K)
