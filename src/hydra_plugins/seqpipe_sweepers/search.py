"""Searches: sweepers that choose the values of each job, by the results of those before.

Hydra imports this module at each start, so it imports what a search needs only as one starts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from seqpipe.bounds import Count, GeneratorSeed, checked
from seqpipe.rules import either, null, text, whole

if TYPE_CHECKING:
    from seqpipe.search.running import Search
    from seqpipe.search.studies import Plan, Study

_KEYS = "hydra.sweeper."
Name = Annotated[str, text(r"\S(.*\S)?", "a name")]
StorageUri = Annotated[
    str,
    text(
        r"sqlite:///(?!:memory:).+|(?!sqlite)[\w+]+://.+",
        "sqlite:///studies.db for a file, postgresql://USER@HOST/DATABASE for a server",
    ),
]
Startup = Annotated[int | None, either(whole(0), null())]


class RandomSearch(Sweeper):
    """Random values for each job.

    Args:
        params: key -> values, which the command line replaces key by key.
        n_trials: of the search.
        seed: of the values; `seed` is that of the trainings.
    """

    @checked(_KEYS)
    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        n_trials: Count = 20,
        seed: GeneratorSeed = 0,
    ) -> None:
        self.params, self.n_trials, self.seed = params, n_trials, seed
        self.launcher: Any = None
        self.config: Any = None
        self.hydra_context: Any = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra before the sweep."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def make_study(self, plan: Plan) -> Study:
        """Makes what chooses the values."""
        from seqpipe.search.studies import Study

        return Study(plan)

    def sweep(self, arguments: list[str]) -> None:
        """Runs the trials; called by Hydra.

        Args:
            arguments: overrides of the command line.
        """
        from seqpipe.search.running import Search
        from seqpipe.terminal import print_text

        plan, fixed, command = self._plan(arguments)
        study = self.make_study(plan)
        search = Search(study, fixed, command)
        with contextlib.closing(study):
            if study.left == 0:
                print_text(search.in_words(search.record(last=False)))
                return
            try:
                self._launch(search, study.left)
            finally:
                search.interrupted()
                print_text(search.in_words(search.write()))

    def _plan(self, arguments: Sequence[str]) -> tuple[Plan, list[str], str]:
        """What is searched, the overrides that all trials share, and the command before them."""
        import shlex
        import sys

        from seqpipe.config.hydra_job import flags_of
        from seqpipe.config.loader import parse
        from seqpipe.config.search_checks import probes
        from seqpipe.config.search_space import searched
        from seqpipe.search.studies import Plan

        hydra, loader = self.config.hydra, self.hydra_context.config_loader
        sources = [one.path for one in hydra.runtime.config_sources if one.schema == "file"]
        found = searched(hydra, parse(arguments)[0], loader, [*map(Path, sources)])
        fixed = [str(one.input_line) for one in found.fixed]
        first = loader.load_sweep_config(self.config, [*fixed, *next(probes(found.space))])
        folder = Path(hydra.sweep.dir).absolute()
        task = first.task
        plan = Plan(found.space, task.monitor, task.mode, self.n_trials, self.seed, folder)
        words = ["python", "-m", "seqpipe", *flags_of(sys.argv[1:], hydra)]
        return plan, fixed, shlex.join(words)

    def _launch(self, search: Search, total: int) -> None:
        """Runs the trials: each as a worker is free, or in groups of as many as run together."""
        from seqpipe.config.nested_groups import with_dots

        if hasattr(self.launcher, "launch_each"):
            keys = {with_dots(parameter.key).lstrip("+") for parameter in search.space}
            self.launcher.launch_each(
                search.jobs(), lambda number, value: search.ended(number), total=total, keys=keys
            )
            return
        jobs = search.jobs()
        for first in count(step=self._together):
            group = list(islice(jobs, self._together))
            if not group:
                return
            self.launcher.launch(group, initial_job_idx=first)
            for number in range(first, first + len(group)):
                search.ended(number)

    @property
    def _together(self) -> int:
        """The number of jobs that a launcher of another package runs at the same time."""
        options = self.config.hydra.launcher
        found = [options.get(name) for name in ("n_jobs", "array_parallelism")]
        return next((one for one in found if isinstance(one, int) and one > 0), 1)


def _settings_together(
    sampler: str, pruner: str, startup_trials: int | None
) -> Iterator[tuple[str, str]]:
    if startup_trials is not None and sampler != "tpe" and pruner != "median":
        wrong = "neither sampler=tpe nor pruner=median, which would wait for them"
        yield "startup_trials", f"{wrong}; allowed: null"


class OptunaSearch(RandomSearch):
    """Values that Optuna chooses, in a study that can be continued and shared.

    Args:
        params: as RandomSearch.
        n_trials: of the study, in whichever process they run.
        seed: as RandomSearch.
        sampler: `tpe` (tree-structured Parzen estimators) or `random`.
        startup_trials: trials that `tpe` draws at random first, and that must have finished before
            `median` stops one; None: 10 and 5.
        pruner: stops trials whose intermediate results are poor; `none`: lets all of them finish.
        prune_after: validations before a trial may be stopped.
        storage: of the study; None: study.db in the folder of the sweep.
        study_name: of the study to continue or to share; None: the name of that folder.
    """

    @checked(_KEYS, together=_settings_together)
    def __init__(
        self,
        params: Mapping[str, Any] | None = None,
        n_trials: Count = 20,
        seed: GeneratorSeed = 0,
        sampler: Literal["tpe", "random"] = "tpe",
        startup_trials: Startup = None,
        pruner: Literal["median", "hyperband", "successive_halving", "none"] = "median",
        prune_after: Count = 3,
        storage: StorageUri | None = None,
        study_name: Name | None = None,
    ) -> None:
        super().__init__(params, n_trials, seed)
        self.sampler, self.startup_trials = sampler, startup_trials
        self.pruner, self.prune_after = pruner, prune_after
        self.storage, self.study_name = storage, study_name

    def make_study(self, plan: Plan) -> Study:
        """Opens the study; it is made if there is none."""
        from seqpipe.search.running import open_study

        return open_study(
            plan,
            storage=self.storage,
            name=self.study_name,
            sampler=self.sampler,
            startup=self.startup_trials,
            pruner=self.pruner,
            prune_after=self.prune_after,
        )
