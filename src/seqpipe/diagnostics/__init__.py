"""Diagnostics of a model: measurements and checks that do not change its training."""
