"""Recurrent layers in plain PyTorch: cells, kernels, stacks, attention, heads."""
