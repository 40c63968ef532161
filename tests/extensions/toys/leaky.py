"""A cell of one's own: leaky integration (Jaeger et al. 2007, equation 2)."""

from torch import tanh

from seqpipe.nn.cell import Cell


class Leaky(Cell):
    """h_t = (1 - leak) h_{t-1} + leak tanh(W_x x_t + W_h h_{t-1} + b)."""

    gate_names = ("a",)  # one block of weights, (H, D) and (H, H)

    def __init__(self, input_size: int, hidden_size: int, leak: float = 0.3):
        super().__init__(input_size, hidden_size)
        self.leak = leak

    def recur(self, projected_t, state):
        (h,) = state  # projected_t is W_x x_t + b
        a = tanh(projected_t + h @ self.weight_hidden.t())
        return ((1 - self.leak) * h + self.leak * a,)

    def onnx_step(self, graph, projected_t, state):
        (h,) = state
        a = graph.op("MatMul", h, graph.constant(self.weight_hidden.t()))
        a = graph.op("Tanh", graph.op("Add", projected_t, a))
        old = graph.op("Mul", h, graph.constant(1 - self.leak))
        return [graph.op("Add", old, graph.op("Mul", a, graph.constant(self.leak)))]
