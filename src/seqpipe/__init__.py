"""seqpipe: recurrent sequence models from YAML, with experiment tracking."""

__version__ = "0.1.0"
