"""hq.auto: the cheapest setting whose accuracy holds, first in simulation, then on the target.

Attempts climb from the cheapest on the target (api/attempts.py): w8a8 with ever better techniques, mixed precision
under growing budgets, w8a16, float16. An attempt that holds in simulation is compiled and measured on the target; if
only the target misses, the biases are corrected on it. Every outcome is kept in ``OUT/.state/auto.json``, so that an
interrupted run goes on and another threshold asks nothing twice. Four fifths of the evaluation data choose, the last
fifth measures what was chosen (api/attempts.py).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hexaquant.analysis.metrics import Metric, find_metric
from hexaquant.analysis.score import score_simulation
from hexaquant.api.attempts import (
    BUDGETS,
    FIRST,
    MIXED_CHOICES,
    Attempt,
    Final,
    Outcome,
    Tried,
    advice,
    last_attempts,
    mixed_reason,
    parted,
)
from hexaquant.api.compile import compile_folder
from hexaquant.api.deploy import HELD_OUT, quantize_folder
from hexaquant.api.mixed import make_problem, solution, uniform
from hexaquant.api.settings import resolve
from hexaquant.api.verify import verify_folder
from hexaquant.core.atomic import write_text
from hexaquant.core.errors import InputError
from hexaquant.core.events import Events
from hexaquant.core.sealed import seal_json, unseal_json
from hexaquant.folder.artifacts import REFERENCE, load_quantized
from hexaquant.folder.manifest import NAME, amend_manifest
from hexaquant.folder.resume import step_fingerprint
from hexaquant.frontends import load
from hexaquant.htp.soc import DEFAULT_TARGET, Target, find_target
from hexaquant.io.data import open_data
from hexaquant.io.dataset import Dataset
from hexaquant.io.image_folder import ImageSpec
from hexaquant.ir.fingerprint import fingerprint
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import float_network
from hexaquant.ptq.mixed_precision import Problem

SECTION = "auto"
MEMORY = ".state/auto.json"
ROOM = ".state/auto"


def auto(
    model: Any,
    data: Any,
    out: str | Path,
    *,
    max_drop: float = 0.5,
    eval_data: Any = None,
    metric: str | Metric = "top1",
    target: str | Target = DEFAULT_TARGET,
    limit: int | None = None,
    workers: int | None = None,
    example_inputs: tuple[Any, ...] | None = None,
    images: ImageSpec | None = None,
    events: Events | None = None,
) -> dict[str, Any]:
    """Deploy ``model`` to ``out`` in the cheapest way that loses at most ``max_drop`` points of ``metric``.

    A metric of 1 is 100 points. Returns the report of :func:`hexaquant.verify` on samples that chose nothing, with an
    entry "auto": "met" (on the samples that choose), every attempt with its numbers, the reasons in words, and "final",
    the figure on the others (None where there are too few: then the report is on all); the manifest has it too. When
    nothing holds, "met" is False, the best found is in ``out`` and "advice" says what to do. Raises InputError for
    evaluation data without labels.
    """
    if max_drop < 0:
        raise InputError(f"--max-drop {max_drop:g} is negative: say how many points may be lost, e.g. 0.5")
    soc, (name, function) = find_target(target), find_metric(metric)
    graph = float_network(load(model, example_inputs=example_inputs))
    calibration = open_data(data, graph, images)
    note = ""
    if eval_data is None:
        calibration, evaluation = calibration.split()
        note = HELD_OUT
    else:
        evaluation = open_data(eval_data, graph, images)
    choosing, final = parted(evaluation)
    task = _Task(graph, calibration, choosing, final, soc, name, function, max_drop, limit, workers, events or Events())
    climb = _Climb(task, Path(out))
    winner = climb.run()
    return climb.finish(winner, note)


@dataclass(frozen=True)
class _Task:
    """What is asked for."""

    graph: Graph
    calibration: Dataset
    choosing: Dataset
    final: Dataset | None
    target: Target
    metric: str
    function: Metric
    max_drop: float
    limit: int | None
    workers: int | None
    events: Events

    def key(self) -> str:
        """Of everything that decides about scores; the threshold does not."""
        data = [self.calibration.content_hash(), self.choosing.content_hash()]
        asked = {"model": fingerprint(self.graph), "data": data, "target": self.target.name}
        return step_fingerprint(asked | {"metric": self.metric, "limit": self.limit})


@dataclass
class _Climb:
    """The attempts so far, in memory and on disk."""

    task: _Task
    out: Path
    tried: list[Tried] = field(default_factory=list)
    _known: dict[str, Outcome] = field(default_factory=dict)
    _key: str = ""
    _problem: Problem | None = None

    def run(self) -> Tried | None:
        """The first attempt that holds, None when there is none."""
        self._remember()
        for attempt in self._attempts():
            if any(t.attempt.key == attempt.key for t in self.tried):
                continue
            found = self._try(attempt)
            if found.outcome.target is not None and not found.holds(self.task.max_drop):
                found = self._try(_corrected(attempt))
            if found.holds(self.task.max_drop):
                return found
        return None

    def _attempts(self) -> Iterator[Attempt]:
        yield from FIRST
        recipe = min(self.tried, key=Tried.rank).attempt.recipe
        yield from (self._mixed(budget, recipe) for budget in BUDGETS)
        yield from last_attempts(recipe)

    def _mixed(self, budget: str, recipe: str) -> Attempt:
        task = self.task
        if self._problem is None:
            self._problem = make_problem(task.graph, task.calibration, task.target, MIXED_CHOICES, events=task.events)
        problem = self._problem
        eight = uniform(problem)
        chosen = problem.solve({"bops": eight.bops * float(budget.removesuffix("%")) / 100})
        mixed = solution(problem, task.target, chosen, (), eight)
        pairs = zip(problem.units, chosen.schemes)
        sensitive = [f"{unit.layer} ({scheme})" for unit, scheme in pairs if scheme != "w8a8"]
        return Attempt(mixed.scheme, recipe, mixed_reason(budget, sensitive), mixed.overrides, kind=f"mixed {budget}")

    def _try(self, attempt: Attempt) -> Tried:
        task = self.task
        task.events.note(SECTION, f"trying {attempt.name}: {attempt.reason}")
        outcome = self._known.get(attempt.key)
        wants_target = outcome is not None and outcome.sim_drop <= task.max_drop and outcome.target is None
        if outcome is None or wants_target:
            outcome = self._measure(attempt)
            self._known[attempt.key] = outcome
            known = {key: asdict(value) for key, value in self._known.items()}
            write_text(self.out / MEMORY, seal_json({"key": self._key, "outcomes": known}))
        found = Tried(attempt, outcome)
        self.tried.append(found)
        task.events.note(SECTION, found.sentence(task.metric, task.max_drop))
        return found

    def _measure(self, attempt: Attempt) -> Outcome:
        task = self.task
        folder = self._folder(attempt)
        start = time.perf_counter()
        self._quantize(attempt, folder)
        model = load_quantized(folder)
        score = score_simulation(
            model, folder / REFERENCE, task.choosing, task.function, limit=task.limit, events=task.events
        )
        outcome = Outcome(score.fp32, score.sim, _finite(score.sqnr_db), 0.0, score.samples)
        if outcome.sim_drop <= task.max_drop:
            compile_folder(folder, force=False, check=False, events=task.events)
            report = self._verify(folder, task.choosing)
            outcome = Outcome(
                report["metrics"]["fp32"],
                report["metrics"]["sim"],
                outcome.sqnr_db,
                0.0,
                report["samples"],
                report["metrics"]["target"],
                report["flips"],
            )
        return Outcome(**asdict(outcome) | {"seconds": round(time.perf_counter() - start, 2)})

    def _quantize(self, attempt: Attempt, folder: Path) -> None:
        settings = resolve(
            self.task.target,
            attempt.scheme,
            attempt.recipe,
            attempt.overrides or None,
            correct_on_target=attempt.correct_on_target,
        )
        quantize_folder(self.task.graph, self.task.calibration, folder, settings, events=self.task.events)

    def _verify(self, folder: Path, data: Dataset, note: str = "") -> dict[str, Any]:
        task = self.task
        return verify_folder(
            folder,
            data,
            metric=task.function,
            limit=task.limit,
            workers=task.workers,
            note=note,
            events=task.events,
        )

    def _folder(self, attempt: Attempt) -> Path:
        return self.out / ROOM / attempt.key

    def _remember(self) -> None:
        """Take over the outcomes of an earlier run on the same network and data."""
        self._key = self.task.key()
        (self.out / ROOM).mkdir(parents=True, exist_ok=True)
        try:
            memory = unseal_json((self.out / MEMORY).read_text(encoding="utf-8"))
            if memory["key"] == self._key:
                self._known = {key: Outcome(**outcome) for key, outcome in memory["outcomes"].items()}
        except (OSError, ValueError, KeyError, TypeError):
            return
        if self._known:
            self.task.events.note(SECTION, f"{len(self._known)} attempts of an earlier run are kept")

    def finish(self, winner: Tried | None, note: str) -> dict[str, Any]:
        """Put the winner, or the best found, into ``out``, and report."""
        task = self.task
        chosen = winner or min(self.tried, key=Tried.rank)
        self._quantize(chosen.attempt, self._folder(chosen.attempt))
        _move(self._folder(chosen.attempt), self.out)
        shutil.rmtree(self.out / ROOM, ignore_errors=True)
        compile_folder(self.out, force=False, check=False, events=task.events)
        report = self._verify(self.out, task.final or task.choosing, note)
        final = None if task.final is None else Final.of(report, task.max_drop)
        self._tell(final, winner)
        section = {
            "met": winner is not None,
            "final": None if final is None else final.to_json(),
            "max_drop": task.max_drop,
            "metric": task.metric,
            "chosen": chosen.attempt.name,
            "why": chosen.attempt.reason,
            "advice": None if winner else advice(self.tried, task.max_drop, str(self.out)),
            "attempts": [t.to_json(task.metric, task.max_drop) for t in self.tried],
        }
        amend_manifest(self.out, sections={SECTION: section})
        return report | {SECTION: section}

    def _tell(self, final: Final | None, winner: Tried | None) -> None:
        events = self.task.events
        if final is None:
            events.note(
                SECTION, "there is too little evaluation data to keep some from choosing: the figures are of it"
            )
        elif winner is not None and not final.holds:
            events.warn(SECTION, final.sentence(self.task.max_drop))
        else:
            events.note(SECTION, final.sentence(self.task.max_drop))


def _corrected(attempt: Attempt) -> Attempt:
    reason = "the simulation holds and the target does not: the biases take up what the target adds"
    return Attempt(attempt.scheme, attempt.recipe, reason, attempt.overrides, True, attempt.kind)


def _move(folder: Path, out: Path) -> None:
    """Move the files of an artifact folder to ``out``, the manifest last, so that what lies there is always whole."""
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == NAME)
    for path in files:
        place = out / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)


def _finite(db: float) -> float | None:
    return None if db in (float("inf"), float("-inf")) or db != db else round(db, 3)
