"""What numbers the options of a model in use may be, in Python as on the command line.

Imports no torch: the command line reads it to answer mistakes at once.
"""

from seqpipe.rules import real, whole

SAMPLING = {
    "n": whole(1),
    "max_length": whole(1),
    "temperature": real("(0, inf)"),  # towards 0 the likeliest is drawn; top_k=1 draws no other
    "top_k": whole(1),
    "top_p": real("(0, 1]"),
    "seed": whole(0, 2**63 - 1),
}
SEARCH = {
    "beam_size": whole(1),  # 1 is greedy
    "n_best": whole(1),
    "length_penalty": real("[0, inf)"),
}
BATCH_SIZE = whole(1)
