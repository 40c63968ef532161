"""ONNX: the export of a trained model, and the check that it answers as the model does."""
