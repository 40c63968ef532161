"""Trained models written down as ONNX graphs, operator by operator, from our own modules."""
