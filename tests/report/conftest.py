import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, in order."""
    figures, save = [], FigureCanvasAgg.print_png

    def kept(canvas, *arguments, **options):
        figures.append(canvas.figure)
        return save(canvas, *arguments, **options)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", kept)
    return figures
