"""The commands of `python -m seqpipe`, one file each."""
