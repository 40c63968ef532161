"""What a model does, seen from inside: nothing here changes a training."""
