"""The version of seqpipe, importable from anywhere without importing seqpipe itself."""

__version__ = "0.1.0"
