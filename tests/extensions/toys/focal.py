"""A task of one's own: classification by the focal loss (Lin et al. 2017, equation 4)."""

from seqpipe.tasks.class_weights import cross_entropy_of_each
from seqpipe.tasks.classification import Classification


class Focal(Classification):
    """Examples that are answered well count less: (1 - p)^gamma * -ln p."""

    name = "focal"

    def __init__(self, *, y, gamma: float = 2.0, monitor: str = "val/accuracy", mode: str = "max"):
        super().__init__(y=y, monitor=monitor, mode=mode)
        self.gamma = gamma

    def losses(self, outputs, batch):
        nats = cross_entropy_of_each(outputs, batch.y)  # (B,)
        return (1 - (-nats).exp()) ** self.gamma * nats, batch.y.new_ones(len(batch))

    def loss(self, outputs, batch, *, training):
        return self.losses(outputs, batch)[0].mean()

    def untrained_loss(self, batch):
        return None  # what an untrained model should start with is not known

    def marginal_loss(self, batch):
        return None
