"""Which kernel runs which cell."""

from seqpipe.nn.cells import GRU, LSTM, RNN, Cell
from seqpipe.nn.kernels.base import Kernel, StepLoop
from seqpipe.nn.kernels.fused import FusedGRU, FusedLSTM, FusedRNN


def select_kernel(cell: Cell) -> Kernel:
    """The fastest kernel with this very cell's answer; the loop where no other has it.

    Subclasses run in the loop, whatever they derive from: their step may be another.
    """
    if type(cell) is LSTM and cell.output_tanh:
        return FusedLSTM()
    if type(cell) is GRU and cell.reset_after:
        return FusedGRU()
    if type(cell) is RNN:
        return FusedRNN(cell.nonlinearity)
    return StepLoop()
