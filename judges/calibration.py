"""What gold labels say of the judges: how far to trust each, kept in a file that recipes name.

A gold pair is two answers of which somebody knows the better. Every judge sees it in both orders. From that follow

- rates with 95% intervals (bootstrap over pairs): accuracy, position consistency, share of first answers, of ties and
  of unreadable replies;
- the evidence in a verdict: how much more often a judge says this when the first answer is the better one than when
  the second is, as a log-likelihood ratio (Wald 1945, "Sequential tests of statistical hypotheses"). A judge that
  always says "the first one" says so in both cases: its verdict is worth log 1 = 0. One that prefers the first answer
  but not always has weak words for the first and strong ones for the second. One that is wrong more often than right
  has negative evidence, which is evidence;
- a weight, the log-odds of its accuracy: a ranking.

Fifty pairs find the strongest of four judges in .94 of the samples (a hundred in .99; recorded judgments of LLMBar,
princeton-nlp/LLMBar, 466 human-labelled pairs). Labels are scarce, so counts are smoothed by one imagined verdict of
each kind (Laplace); half or twice as much changes no figure in judges/policy/sprt.py by more than a point.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from judges.audit import Counts, Item, audit
from pipeline.errors import RecordFailed, UserError, did_you_mean
from pipeline.identity import digest
from pipeline.records import Answer, Ask, Estimate, JudgeAudit, Record, Said, Showing, Verdict
from pipeline.registry import Call, Judge

SMOOTHING = 1.0
"""Imagined verdicts of each kind, for each judge and place of the better answer."""

SHOWN_ERRORS = 10
"""Bad lines named in one message."""


Side = Literal["a", "b"]


class GoldPair(Record):
    """Two answers of which somebody knows the better: one line of a gold file."""

    pair_id: str = Field(min_length=1)
    """Its name, once in a file."""
    prompt: str
    """What was asked."""
    a: str
    """One answer."""
    b: str
    """The other."""
    gold: Side
    """Which one is better."""
    subset: str = ""
    """Where it comes from, if that matters."""

    def answer_id(self, side: Side) -> str:
        """How verdicts on this pair name an answer: by its side.

        Not by its text, as elsewhere: gold files have been seen to prefer one of two equal texts (one pair of LLMBar's
        466 human-labelled ones).
        """
        return f"{self.pair_id}/{side}"

    @property
    def right(self) -> str:
        """Id of the better answer."""
        return self.answer_id(self.gold)

    @property
    def lengths(self) -> dict[str, int]:
        """Characters of each answer, by its id."""
        return {self.answer_id("a"): len(self.a), self.answer_id("b"): len(self.b)}

    def showing(self, *, swapped: bool) -> Showing:
        """The pair as a judge sees it: a is x."""
        x, y = (Answer(text=text, origin="given") for text in (self.a, self.b))
        return Showing(pair=self.pair_id, instruction=self.prompt, x=x, y=y, swapped=swapped)

    def verdict(self, judge: str, said: Said, *, swapped: bool) -> Verdict:
        """What a judge said of that showing, in this pair's own ids."""
        return Verdict(judge=judge, x=self.answer_id("a"), y=self.answer_id("b"), swapped=swapped, said=said)


class Judgment(Record):
    """A recorded verdict: one line of a file of judgments."""

    pair_id: str
    """The gold pair."""
    judge: str
    """Who judged."""
    strategy: str = ""
    """How it was prompted, if one file holds several ways."""
    order: Literal["ab", "ba"]
    """Which answer stood first."""
    winner: Literal["a", "b", "tie"] | None
    """The pair's own answer that won, whatever the order; null is a reply that could not be read."""
    tail: str = ""
    """End of the reply, for people."""
    finish: str = ""
    """Why the reply ended."""
    scores: JsonValue = None
    """Whatever scores the judge gave."""

    def verdict(self, pair: GoldPair) -> Verdict:
        """What it says, as a judge would have returned it."""
        said: Said = "unreadable" if self.winner is None else "tie"
        if self.winner in ("a", "b"):
            said = "a" if self.winner == self.order[0] else "b"
        return pair.verdict(self.judge, said, swapped=self.order == "ba")


@dataclass(frozen=True)
class Trial:
    """A gold pair and what every judge said of it in both orders."""

    pair: GoldPair
    """The pair."""
    right: str
    """Id of the better answer."""
    verdicts: Mapping[Call, Verdict]
    """By judge and order; `other` is whether y stood first."""

    @classmethod
    def of(cls, pair: GoldPair, verdicts: Iterable[Verdict]) -> Trial:
        """From verdicts in any order; of two by one judge in one order the last counts."""
        calls = {Call(verdict.judge, verdict.swapped): verdict for verdict in verdicts}
        return cls(pair=pair, right=pair.right, verdicts=calls)


class Chances(Record):
    """How often a judge says what, of the verdicts that can be read. They add up to 1."""

    a: float = Field(gt=0, lt=1)
    """The answer shown first."""
    b: float = Field(gt=0, lt=1)
    """The answer shown second."""
    tie: float = Field(gt=0, lt=1)
    """Neither."""


class Evidence(Record):
    """What a judge's words are worth, by where the better answer stood."""

    first: Chances
    """What it says when the better answer stands first."""
    second: Chances
    """What it says when the better answer stands second."""

    @cached_property
    def nats(self) -> dict[Said, float]:
        """For each verdict the log-likelihood ratio that the answer shown first is better; 0 for an unreadable one."""
        return {
            "a": math.log(self.first.a / self.second.a),
            "b": math.log(self.first.b / self.second.b),
            "tie": math.log(self.first.tie / self.second.tie),
            "unreadable": 0.0,
        }

    @cached_property
    def bits(self) -> float:
        """What one verdict is expected to tell of a pair about which nothing is known, in 0..1 bits."""
        return math.fsum(
            chance / 2 * math.log2(2 * chance / (chance + other))
            for here, there in ((self.first, self.second), (self.second, self.first))
            for chance, other in ((here.a, there.a), (here.b, there.b), (here.tie, there.tie))
        )


class JudgeCalibration(Record):
    """What gold says of one judge."""

    accuracy: Estimate
    """Of its readable verdicts the share that names the better answer; a tie counts one half."""
    behaviour: JudgeAudit
    """Position consistency, shares of first and longer answers, of ties and unreadable replies."""
    evidence: Evidence
    """What its words are worth."""
    weight: float
    """Log-odds of its accuracy, smoothed; 0 is a coin, negative is worse than one."""


class PolicyScore(Record):
    """What a policy costs and how often it is right. A measure is None if nothing was decided."""

    policy: str
    """Which one."""
    pairs: int
    """Gold pairs that it was tried on."""
    calls_per_decided: Estimate | None
    """Verdicts asked for, of undecided pairs too, over pairs decided."""
    calls_per_right: Estimate | None
    """Verdicts asked for over pairs decided rightly."""
    accuracy: Estimate | None
    """Share of pairs decided rightly; an undecided pair counts one half."""
    precision: Estimate | None
    """Share of decided pairs that are decided rightly."""
    yielded: Estimate | None
    """Share of pairs that are decided."""


class Calibration(Record):
    """What gold says of the judges."""

    gold: str
    """Digest of the gold pairs that it was made from."""
    pairs: int
    """How many these were."""
    judges: dict[str, JudgeCalibration]
    """By label, the strongest first."""
    policies: tuple[PolicyScore, ...] = ()
    """What each policy would have made of the gold pairs with these judges."""

    def strongest_first(self, jury: Sequence[str]) -> list[str]:
        """The jury by falling weight. Raises UserError for a judge that was not calibrated."""
        for judge in jury:
            self._of(judge)
        return sorted(jury, key=lambda judge: -self.judges[judge].weight)

    def evidence(self, jury: Sequence[str]) -> dict[str, Evidence]:
        """What the words of each are worth. Raises UserError for a judge that was not calibrated."""
        return {judge: self._of(judge).evidence for judge in jury}

    def _of(self, judge: str) -> JudgeCalibration:
        if judge not in self.judges:
            raise UserError(
                f"the calibration knows no judge {judge!r}. {did_you_mean(judge, self.judges)}",
                where="judge.policy.calibration",
                remedy="Calibrate this jury with `pairwright judge calibrate`, or take the judge out",
            )
        return self.judges[judge]


async def poll(gold: Sequence[GoldPair], jury: Sequence[Judge], ask: Ask) -> list[Trial]:
    """Ask every judge for its verdict on every gold pair in both orders; the engine bounds what is under way at once.

    A verdict that the engine could not deliver counts as unreadable, as in a run.
    """

    async def verdict(pair: GoldPair, judge: Judge, swapped: bool) -> Verdict:
        try:
            said = (await judge(pair.showing(swapped=swapped), ask)).said
        except RecordFailed:
            said = "unreadable"
        return pair.verdict(judge.label, said, swapped=swapped)

    async def trial(pair: GoldPair) -> Trial:
        calls = [verdict(pair, judge, swapped) for judge in jury for swapped in (False, True)]
        return Trial.of(pair, await asyncio.gather(*calls))

    return await asyncio.gather(*(trial(pair) for pair in gold))


def fit(trials: Sequence[Trial], seed: int = 2026) -> Calibration:
    """Everything that the trials say of their judges.

    Raises:
        UserError: there are no trials.
    """
    if not trials:
        raise UserError("no gold pair was judged", remedy="Give gold pairs that the judgments are about")
    behaviour = audit((_item(trial) for trial in trials), seed).judges
    accuracy, tables, ranks = accuracies(trials, seed), evidence(trials), weights(trials)
    return Calibration(
        gold=gold_digest(trial.pair for trial in trials),
        pairs=len(trials),
        judges={
            judge: JudgeCalibration(
                accuracy=accuracy[judge],
                behaviour=behaviour[judge],
                evidence=tables[judge],
                weight=ranks[judge],
            )
            for judge in accuracy
        },
    )


def gold_digest(pairs: Iterable[GoldPair]) -> str:
    """Names a set of gold pairs by what they say, in whatever order and under whatever ids."""
    return digest("gold", sorted([pair.prompt, *sorted([pair.a, pair.b]), getattr(pair, pair.gold)] for pair in pairs))


def weights(trials: Iterable[Trial]) -> dict[str, float]:
    """Log-odds of each judge's accuracy, smoothed, the strongest judge first; ties of rank in the jury's order."""
    right: dict[str, float] = {}
    wrong: dict[str, float] = {}
    for trial in trials:
        for call, verdict in trial.verdicts.items():
            credit = _credit(verdict, trial.right)
            right[call.judge] = right.get(call.judge, SMOOTHING) + (credit or 0.0)
            wrong[call.judge] = wrong.get(call.judge, SMOOTHING) + (0.0 if credit is None else 1 - credit)
    ranked = sorted(right, key=lambda judge: -right[judge] / wrong[judge])
    return {judge: math.log(right[judge] / wrong[judge]) for judge in ranked}


def evidence(trials: Iterable[Trial]) -> dict[str, Evidence]:
    """What each judge's words are worth, from smoothed counts."""
    counts: dict[str, dict[tuple[bool, Said], float]] = {}
    for trial in trials:
        for call, verdict in trial.verdicts.items():
            mine = counts.setdefault(call.judge, {})
            key = (_first(verdict) == trial.right, verdict.said)
            mine[key] = mine.get(key, 0.0) + 1
    return {judge: Evidence(first=_chances(mine, True), second=_chances(mine, False)) for judge, mine in counts.items()}


def _chances(counts: Mapping[tuple[bool, Said], float], first_is_better: bool) -> Chances:
    a, b, tie = (counts.get((first_is_better, said), 0.0) + SMOOTHING for said in _READABLE)
    total = a + b + tie
    return Chances(a=a / total, b=b / total, tie=tie / total)


_READABLE: tuple[Said, ...] = ("a", "b", "tie")


def _first(verdict: Verdict) -> str:
    """Id of the answer that stood first."""
    return verdict.y if verdict.swapped else verdict.x


def _credit(verdict: Verdict, right: str) -> float | None:
    """1 for the better answer, 0 for the other, one half for a tie; None if it could not be read."""
    if verdict.said == "unreadable":
        return None
    return 0.5 if verdict.winner is None else float(verdict.winner == right)


def accuracies(trials: Sequence[Trial], seed: int) -> dict[str, Estimate]:
    """By judge, the most accurate first.

    Raises:
        UserError: nothing that a judge said could be read.
    """
    counts = Counts(seed)
    for trial in trials:
        for call, verdict in trial.verdicts.items():
            credit = _credit(verdict, trial.right)
            if credit is not None:
                counts.add(trial.pair.pair_id, ("right", call.judge), credit)
                counts.add(trial.pair.pair_id, ("readable", call.judge))
    found: dict[str, Estimate] = {}
    for judge in weights(trials):
        estimate = counts.ratio(("right", judge), ("readable", judge))
        if estimate is None:
            raise UserError(f"nothing that {judge} said of the gold pairs could be read", remedy="Leave it out")
        found[judge] = estimate
    return found


def _item(trial: Trial) -> Item:
    return Item(
        pair=trial.pair.pair_id,
        verdicts=tuple(trial.verdicts.values()),
        lengths=trial.pair.lengths,
        winner=trial.right,
    )


def table(calibration: Calibration) -> str:
    """The calibration for people: a line a judge and a line a policy."""
    rows: list[tuple[str, ...]] = [("judge", "accuracy", "consistent", "first share", "ties", "unreadable", "weight")]
    for name, judge in calibration.judges.items():
        shown = judge.behaviour
        rates = (shown.position_consistency, shown.first_share, shown.tie_share, shown.unreadable_share)
        rows.append((name, *map(_cell, (judge.accuracy, *rates)), f"{judge.weight:+.2f}"))
    rows.append(("policy", "calls per decided", "calls per right", "accuracy", "precision", "yield", ""))
    for row in calibration.policies:
        figures = (row.calls_per_decided, row.calls_per_right, row.accuracy, row.precision, row.yielded)
        rows.append((row.policy, *map(_cell, figures), ""))
    head = f"{calibration.pairs} gold pairs; 95% intervals by pairs; policies are cross-fitted"
    return "\n".join(
        [head, *(f"{first:24}" + "".join(f"{cell:>24}" for cell in rest).rstrip() for first, *rest in rows)]
    )


def _cell(estimate: Estimate | None) -> str:
    return "none" if estimate is None else str(estimate)


def save(calibration: Calibration, path: Path) -> None:
    """Write the calibration file: JSON, a line for each number, so that two calibrations can be compared as texts."""
    path.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        UserError: there is none, or it is none.
    """
    remedy = "`pairwright judge calibrate` writes one"
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the calibration: {error.strerror}", where=str(path), remedy=remedy) from error
    except (UnicodeDecodeError, ValidationError) as error:
        raise UserError("this is no calibration file", where=str(path), remedy=remedy) from error


def load_for_recipe(path: Path) -> Calibration:
    """As `load`, but raises ValueError: a recipe reports it beside its other mistakes."""
    try:
        return load(path)
    except UserError as error:
        raise ValueError(str(error)) from error


def read_gold(path: Path) -> list[GoldPair]:
    """The gold pairs in a JSONL file.

    Raises:
        UserError: no such file, no pair in it, or bad lines: each is named by its number.
    """
    pairs = _read_lines(path, GoldPair)
    first_line: dict[str, int] = {}
    for number, pair in pairs:
        if first_line.setdefault(pair.pair_id, number) != number:
            raise UserError(
                f"pair_id {pair.pair_id!r} stands in line {first_line[pair.pair_id]} already",
                where=f"{path}:{number}",
                remedy="Give each pair an id of its own",
            )
    return [pair for _, pair in pairs]


def read_trials(path: Path, gold: Sequence[GoldPair], strategy: str | None = None) -> list[Trial]:
    """Recorded judgments of gold pairs, from a JSONL file; judgments of other pairs are left out.

    Every judge must have judged every pair that anybody judged, in both orders: policies choose their calls freely.

    Raises:
        UserError: no such file, bad lines, several strategies of which none was named, or judgments missing.
    """
    pairs = {pair.pair_id: pair for pair in gold}
    judgments = [judgment for _, judgment in _read_lines(path, Judgment) if judgment.pair_id in pairs]
    chosen = _one_strategy(judgments, strategy, path)
    verdicts: dict[str, list[Verdict]] = {}
    for judgment in judgments:
        if judgment.strategy == chosen:
            verdicts.setdefault(judgment.pair_id, []).append(judgment.verdict(pairs[judgment.pair_id]))
    trials = [Trial.of(pairs[pair_id], said) for pair_id, said in verdicts.items()]
    _check_complete(trials, path)
    return trials


def _one_strategy(judgments: Sequence[Judgment], strategy: str | None, path: Path) -> str:
    found = sorted({judgment.strategy for judgment in judgments})
    if strategy is None and len(found) == 1:
        return found[0]
    if strategy not in found:
        what = "name one of several strategies" if strategy is None else f"no judgment is by strategy {strategy!r}"
        known = f"Known: {', '.join(found)}" if found else "No judgment is about one of the gold pairs"
        raise UserError(what if found else "nothing to replay", where=str(path), remedy=known)
    assert strategy is not None  # noqa: S101  it is one of those found
    return strategy


def _check_complete(trials: Sequence[Trial], path: Path) -> None:
    calls = {call for trial in trials for call in trial.verdicts}
    wanted = {Call(call.judge, other) for call in calls for other in (False, True)}
    for trial in trials:
        if missing := sorted(wanted - set(trial.verdicts)):
            raise UserError(
                f"{missing[0].judge} has not judged pair {trial.pair.pair_id!r} in both orders",
                where=str(path),
                remedy="Add the judgment, with `winner: null` if it could not be read, or leave the pair out",
            )


R = TypeVar("R", bound=Record)


def _read_lines(path: Path, record: type[R]) -> list[tuple[int, R]]:
    """Every record of a JSONL file with its line's number, counted from 1; blank lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: JSON may hold U+2028
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"cannot read it: {why}", where=str(path)) from error
    records: list[tuple[int, R]] = []
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                records.append((number, record.model_validate_json(line)))
            except ValidationError as error:
                wrong.append(f"{path}:{number}: {_why(error)}")
    if wrong:
        more = [f"and {len(wrong) - SHOWN_ERRORS} more"] if len(wrong) > SHOWN_ERRORS else []
        raise UserError("\n".join(wrong[:SHOWN_ERRORS] + more), remedy=_expected(record))
    if not records:
        raise UserError("there is nothing in it", where=str(path), remedy=_expected(record))
    return records


def _why(error: ValidationError) -> str:
    detail = error.errors()[0]
    key = ".".join(str(step) for step in detail["loc"])
    return f"{key}: {detail['msg']}" if key else detail["msg"].removeprefix("Value error, ")


def _expected(record: type[Record]) -> str:
    needed = [name for name, field in record.model_fields.items() if field.is_required()]
    return f"Each line is a JSON object with {json.dumps(needed)}"
