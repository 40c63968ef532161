"""Hydra's sweepers of seqpipe: searches over hyperparameters."""
