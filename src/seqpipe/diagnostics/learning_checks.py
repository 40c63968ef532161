"""Checks that a model can learn: every parameter gets a gradient, a few examples are memorised."""

import copy
import time

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch import nn

from seqpipe.data.base import SequenceBatch
from seqpipe.diagnostics.preflight_context import Check, Subject

UPDATES, SECONDS, SHARE, LR = 300, 20.0, 0.1, 0.01
NAMED = 5  # parameters in a message


def gradients(subject: Subject) -> Check:
    """Names parameters without a gradient, or with exactly 0, in one pass as in training.

    Where every sequence has only one step, attention and the parameters between steps have nothing
    to learn: the check mentions them and passes.
    """
    name, model, batch = "gradients", copy.deepcopy(subject.model), subject.batch
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not wanted:
        return Check(name, "warning", "no parameter requires a gradient, so nothing can be learned")
    torch.manual_seed(0)
    with torch.enable_grad():
        outputs = model.train()(batch.x, batch.x_lengths, batch.y, batch.y_lengths)
        loss = subject.task.training_loss(outputs, batch)
        if not loss.requires_grad:
            text = "the loss depends on no parameter; look for detach() or no_grad()"
            return Check(name, "warning", text)
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    grads = dict(zip(wanted, found, strict=True))
    none = [n for n, grad in grads.items() if grad is None]
    zero = [n for n, grad in grads.items() if grad is not None and not grad.count_nonzero()]
    excused = set(none + zero) & _connecting_steps(model) if _one_step(batch) else set()
    parts = []
    for names, words in ((none, "not used by the loss"), (zero, "gradient exactly 0")):
        shown = [each for each in names if each not in excused]
        if shown:
            more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
            parts.append(f"{', '.join(shown[:NAMED])}{more}: {words}")
    if parts:
        return Check(name, "warning", "; ".join(parts))
    detail = f"all {len(wanted)} parameters have a gradient"
    if excused:
        detail += f", except {len(excused)} between steps, as each sequence has one step"
    return Check(name, "passed", detail)


def _one_step(batch: SequenceBatch) -> bool:
    lengths = [each for each in (batch.x_lengths, batch.y_lengths) if each is not None]
    return any(int(each.max()) == 1 for each in lengths)


def _connecting_steps(model: nn.Module) -> set[str]:
    """Names of the parameters of which a module says that they connect steps."""
    found = set()
    for path, module in model.named_modules():
        for name in getattr(module, "connects_steps", ()):
            held, prefix = getattr(module, name), f"{path}.{name}" if path else name
            inner = [n for n, _ in held.named_parameters()] if isinstance(held, nn.Module) else []
            found |= {f"{prefix}.{one}" for one in inner} or {prefix}
    return found


def memorising(subject: Subject, few: SequenceBatch, *, bar: bool) -> Check:
    """Trains on a few examples without dropout, by Adam, to see whether they can be memorised.

    Frozen parts are trained as well: the check is of the model, the data and the loss. It passes
    when the loss falls under `SHARE` of its start within `UPDATES` updates. The result is "not
    checked" where these would take longer than `SECONDS`.

    Args:
        subject: its model is copied.
        few: the examples.
        bar: show a progress bar on a terminal.
    """
    name, model = "memorising", copy.deepcopy(subject.model).eval().requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    torch.manual_seed(0)
    started, losses = time.perf_counter(), list[float]()
    with _bar(bar) as progress, torch.enable_grad():
        task = progress.add_task("preflight: memorising", total=UPDATES)
        while len(losses) <= UPDATES and time.perf_counter() - started < SECONDS:
            outputs = model(few.x, few.x_lengths, few.y, few.y_lengths)
            loss = subject.task.loss(outputs, few, training=False)
            losses.append(float(loss.detach()))
            progress.update(task, completed=len(losses) - 1)
            if losses[-1] <= SHARE * losses[0]:
                break
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    detail = f"{len(few)} examples, loss {losses[0]:.4g} -> {losses[-1]:.4g}"
    detail += f" in {len(losses) - 1} updates of Adam"
    if losses[-1] <= SHARE * losses[0]:
        return Check(name, "passed", detail)
    if len(losses) <= UPDATES:
        return Check(name, "not checked", f"{detail}, no more within {SECONDS:g} s")
    detail += f", not under {SHARE:.0%} of its start; check that x determines y, and the loss"
    return Check(name, "warning", detail)


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn())
    console = Console(stderr=True)
    return Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    )
