"""The five architectures."""
