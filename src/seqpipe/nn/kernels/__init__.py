"""Ways to run one cell over a whole sequence, all with the answer of the stepped cell."""
