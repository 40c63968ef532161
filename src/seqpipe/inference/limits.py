"""What numbers the options of a model in use may be, in Python as on the command line.

Imports no torch: the command line reads it to answer mistakes at once.
"""

from seqpipe.rules import real, whole

SAMPLING = {
    "n": whole(1, 1_000_000),
    "max_length": whole(1, 1_000_000),
    "temperature": real("[0.0001, 10000]"),  # at 0 the likeliest alone is drawn: top_k=1
    "top_k": whole(1),
    "top_p": real("[1e-06, 1]"),
    "seed": whole(0, 2**63 - 1),
}
SEARCH = {
    "beam_size": whole(1, 10_000),  # 1 is greedy
    "n_best": whole(1, 10_000),
    "length_penalty": real("[0, 10]"),
}
BATCH_SIZE = whole(1, 1_000_000)
