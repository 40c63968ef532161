"""Export the model for use elsewhere: `python -m seqpipe export run=latest format=onnx ...`."""

from pathlib import Path

from seqpipe.commands.dispatch import Answer
from seqpipe.commands.options import Export
from seqpipe.errors import ConfigError
from seqpipe.files import check_new
from seqpipe.inference import model_format
from seqpipe.inference.load import load_model
from seqpipe.runs.open_model import find_model, open_model


def run(options: Export, root: Path) -> Answer:
    """Write the file or folder; nothing is overwritten.

    Raises:
        ConfigError: the output exists, or the model cannot be written in this format.
    """
    output = root / options.output
    check_new(output, options.output)
    if options.format == "onnx" and output.suffix != ".onnx":
        text = "wrong form; allowed: a name that ends in .onnx"
        raise ConfigError(f"output={options.output}: {text}")
    if options.format == "safetensors":
        kept, _ = find_model(options, root)
        load_model(kept, options.trust)  # refuses a damaged model, or one that is not trusted
        model_format.copy(kept, output)
        return Answer(f'{output}: seqpipe.load("{options.output}") opens it')
    from seqpipe.onnx.export import export_onnx

    model, _ = open_model(options, root)
    return Answer("\n".join(export_onnx(model, output)))
