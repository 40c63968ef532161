"""Baselines: models that need no training loop, by which a trained one is judged."""
