"""What policies cost and how often they are right, on recorded verdicts: `python benchmarks/judging.py FOLDER`.

The folder holds `llmbar` and `llmbar_human`, each with `pairs.jsonl` and `judgments.jsonl` (the formats of
judges.gold.GoldPair and Judgment): the judgments that come with LLMBar, princeton-nlp/LLMBar at 900616b. No
model is called. Which judge is strongest, and what a verdict is worth, is found on 50 gold labels and then tried on all
other pairs, over a hundred samples of such labels. Exits 1 if something that is promised does not hold.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from judges.audit import Item, alarms, audit
from judges.calibration import PolicyScore
from judges.gold import GoldPair, Trial, read_gold, read_trials
from judges.jury import dawid_skene
from judges.policy.full import Full
from judges.replay import (
    SEED,
    Fit,
    Outcome,
    Panel,
    Split,
    accuracy_difference,
    cross_replay,
    fits,
    replay,
    samples,
    score,
)
from pipeline.errors import UserError
from pipeline.identity import coin
from pipeline.records import Audit, Estimate, Verdict
from pipeline.registry import Call

ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")
LABELS = 50
SPLITS = 100


class Promises:
    """Prints whether each holds, and remembers."""

    def __init__(self) -> None:
        self.broken = 0

    def holds(self, what: str, good: bool) -> None:
        """One line."""
        self.broken += not good
        print(f"  {'holds' if good else 'DOES NOT HOLD'}: {what}")


def main() -> None:
    """Print every table; exit 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="recorded judgments")
    folder: Path = parser.parse_args().folder
    promises = Promises()
    human = _trials(folder / "llmbar_human", "Vanilla_NoRules")
    _human(human, promises)
    _adversarial(_trials(folder / "llmbar", "Metrics_Reference", ADVERSARIAL), promises)
    _guard(folder, promises)
    _always_first(human, promises)
    _bias(human, promises)
    _odds(promises)
    _speed(human, promises)
    sys.exit(1 if promises.broken else 0)


def _trials(folder: Path, strategy: str, subsets: Sequence[str] = ()) -> list[Trial]:
    gold = [pair for pair in read_gold(folder / "pairs.jsonl") if not subsets or pair.subset in subsets]
    return read_trials(folder / "judgments.jsonl", gold, strategy)


def _jury(trials: Sequence[Trial]) -> list[str]:
    return sorted({call.judge for call in trials[0].verdicts})


def _table(trials: Sequence[Trial]) -> dict[str, tuple[PolicyScore, Estimate]]:
    """One row a policy: its figures, and its accuracy less that of everybody in both orders."""
    jury = _jury(trials)
    full = replay(Panel(Full(), jury), trials)
    everything = {
        trial.pair.pair_id: tuple(trial.verdicts.values()) for trial in trials
    }  # for agreement: no label in it
    rows: dict[str, tuple[PolicyScore, Estimate]] = {}
    print(f"  {len(trials)} pairs, {len(jury)} judges; 95% intervals by pairs")
    print(f"  {'policy':24} {'calls per decided':>21} {'accuracy':>21} {'precision':>21} {'yield':>21}  points to full")
    for name, fit in fits(jury, everything).items():
        outcomes = full if name == "full" else _outcomes(fit, samples(trials, LABELS, SPLITS))
        row, points = score(name, outcomes), accuracy_difference(outcomes, full)
        assert points is not None
        rows[name] = row, points
        cells = (row.calls_per_decided, row.accuracy, row.precision, row.yielded)
        print(f"  {name:24} {' '.join(f'{cell!s:>21}' for cell in cells)}  {_points(points)}")
    return rows


def _outcomes(fit: Fit, splits: Sequence[Split]) -> list[Outcome]:
    """As `cross_replay`, without the splits that the guard refuses."""
    outcomes = []
    for number, split in enumerate(splits):
        with suppress(UserError):
            outcomes += cross_replay(fit, [split], SEED + number)
    return outcomes


def _points(difference: Estimate) -> str:
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def _calls(row: PolicyScore) -> float:
    assert row.calls_per_decided is not None
    return row.calls_per_decided.value


def _human(trials: Sequence[Trial], promises: Promises) -> None:
    print(f"1. Human-labelled pairs, strategy Vanilla_NoRules; ranks and evidence from {LABELS} gold labels")
    rows = _table(trials)
    for policy in ("weighted, gold", "weighted, agreement"):
        points = rows[policy][1]
        promises.holds(f"{policy}: {_points(points)} points of accuracy, at least -0.5", points.value >= -0.005)
    for policy in ("lead", "sprt"):
        row, points = rows[policy]
        promises.holds(f"{policy}: {_calls(row):.2f} calls per decided pair, at most 3.1", _calls(row) <= 3.1)
        promises.holds(f"{policy}: {_points(points)} points of accuracy, at least -0.5", points.value >= -0.005)


def _adversarial(trials: Sequence[Trial], promises: Promises) -> None:
    print("\n2. LLMBar's adversarial pairs, strategy Metrics_Reference")
    rows = _table(trials)
    for policy in ("weighted, gold", "weighted, agreement"):
        points = rows[policy][1]
        promises.holds(f"{policy}: {_points(points)} points of accuracy, at least 20", points.value >= 0.20)
    row, points = rows["sprt"]
    promises.holds(f"sprt: {_calls(row):.2f} calls per decided pair, at most 2.5", _calls(row) <= 2.5)
    promises.holds(f"sprt: {_points(points)} points of accuracy, at least 20", points.value >= 0.20)


def _guard(folder: Path, promises: Promises) -> None:
    print(f"\n3. Dawid-Skene with {LABELS} gold anchors: how many of {SPLITS} samples the guard refuses")
    refused = {
        (name, strategy): _refused(_trials(folder / name, strategy, subsets))
        for name, strategy, subsets in (
            ("llmbar", "Vanilla", ADVERSARIAL),
            ("llmbar", "Vanilla_NoRules", ADVERSARIAL),
            ("llmbar", "Metrics_Reference", ADVERSARIAL),
            ("llmbar_human", "Vanilla_NoRules", ()),
            ("llmbar_human", "Metrics_Reference", ()),
        )
    }
    for (name, strategy), number in refused.items():
        print(f"  {name:14} {strategy:18} {number:4}")
    number = refused["llmbar", "Vanilla"]
    promises.holds(f"strategy Vanilla: refuses {number} of {SPLITS}, all", number == SPLITS)


def _refused(trials: Sequence[Trial]) -> int:
    number = 0
    for split in samples(trials, LABELS, SPLITS):
        try:
            dawid_skene({trial.pair.pair_id: tuple(trial.verdicts.values()) for trial in split.judge}, split.fit)
        except UserError:
            number += 1
    return number


def _always_first(trials: Sequence[Trial], promises: Promises) -> None:
    """The judges of the recording, all turned to saying "the first one" after they were calibrated."""
    print("\n4. A jury that always names the first answer; and whom the audit catches on FairEval")
    stuck = [_stuck(trial) for trial in trials]
    for name, fit in fits(_jury(trials)).items():
        settled = sum(outcome.right is not None for outcome in replay(fit(trials), stuck))
        wanted = len(trials) if name.startswith("one-call") else 0
        promises.holds(f"{name}: settles {settled} pairs, {wanted}", settled == wanted)
    judge = _jury(trials)[0]
    once = [(trial, [trial.verdicts[Call(judge, coin(SEED, trial.pair.pair_id))]]) for trial in stuck]
    found = alarms(audit(_item(trial, verdicts) for trial, verdicts in once))
    promises.holds(f"one-call: alarm, {'; '.join(map(str, found)) or 'none'}", len(found) == 1)


def _stuck(trial: Trial) -> Trial:
    return Trial.of(trial.pair, [trial.pair.verdict(v.judge, "a", swapped=v.swapped) for v in trial.verdicts.values()])


def _item(trial: Trial, verdicts: Sequence[Verdict]) -> Item:
    return Item(trial.pair.pair_id, verdicts, trial.pair.lengths, trial.right)


def _audit(trials: Sequence[Trial]) -> Audit:
    return audit(_item(trial, tuple(trial.verdicts.values())) for trial in trials)


def _bias(trials: Sequence[Trial], promises: Promises) -> None:
    fair = [trial for trial in trials if trial.pair.subset == "FairEval"]
    audits = {f"FairEval's {len(fair)}": _audit(fair), f"all {len(trials)}": _audit(trials)}
    alarmed = {}
    for name, audited in audits.items():
        alarmed[name] = {alarm.judge for alarm in alarms(audited)}
        print(f"  {name}: the longer wins in {audited.longer_wins}, effective judges {audited.effective_judges}")
        for judge, row in audited.judges.items():
            alarm = "alarm" if judge in alarmed[name] else ""
            print(f"    {judge:8} first {row.first_share}  consistent {row.position_consistency}  ", end="")
            print(f"longer {row.longer_share}  unreadable {row.unreadable_share}  {alarm}")
    few, every = alarmed.values()
    promises.holds("ChatGPT trips the position alarm on FairEval", "ChatGPT" in few)
    promises.holds("GPT-4 does not on all pairs", "GPT-4" not in every)


STRENGTHS = {"good": (1.2, 0.2), "fair": (0.8, 0.4), "weak": (0.5, 0.1)}
"""Three made-up judges: how clearly each sees the better answer, and how much it leans to the first one."""


def _odds(promises: Promises) -> None:
    """No recording at hand has odds, so that these judges are made up: it shows the method, not what models do."""
    print("\n5. SIMULATED judges: what it is worth to be told how sure each was, 50 gold labels")
    told = [_made_up(number, random.Random(number)) for number in range(600)]
    kept_back = [Trial.of(t.pair, [v.but(probability=None) for v in t.verdicts.values()]) for t in told]
    for policy in ("sprt", "weighted, gold"):
        rows, outcomes = {}, {}
        for name, trials in (("told", told), ("not told", kept_back)):
            outcomes[name] = cross_replay(fits(list(STRENGTHS))[policy], samples(trials, LABELS, 30))
            rows[name] = row = score(policy, outcomes[name])
            cells = (row.calls_per_decided, row.accuracy, row.precision, row.yielded)
            print(f"  {policy + ', ' + name:24} {' '.join(f'{cell!s:>21}' for cell in cells)}")
        points = accuracy_difference(outcomes["told"], outcomes["not told"])
        better, worse = rows["told"].precision, rows["not told"].precision
        assert points is not None
        assert better is not None
        assert worse is not None
        promises.holds(f"{policy}: {_points(points)} points of accuracy, at least 0", points.value >= 0)
        more = 100 * (better.value - worse.value)
        promises.holds(f"{policy}: {more:+.1f} points of precision, more than 0", more > 0)


def _made_up(number: int, draw: random.Random) -> Trial:
    pair = GoldPair(pair_id=str(number), prompt="p", a="one", b="another", gold=draw.choice(("a", "b")))
    ease, verdicts = draw.gauss(1, 1), []
    for judge, (sight, lean) in STRENGTHS.items():
        opinion = sight * ease + draw.gauss(0, 1)
        for swapped in (False, True):
            for_better = opinion + draw.gauss(0, 0.5)
            logit = 2.5 * ((for_better if (pair.gold == "b") == swapped else -for_better) + lean)
            verdicts.append(
                pair.verdict(judge, "a" if logit > 0 else "b", swapped=swapped, probability=1 / (1 + math.exp(-logit)))
            )
    return Trial.of(pair, verdicts)


def _speed(trials: Sequence[Trial], promises: Promises) -> None:
    print("\n6. Speed, one core")
    many = list(trials) * 100
    for name, fit in fits(_jury(trials)).items():
        panel = fit(trials)
        started = time.process_time()
        verdicts = sum(outcome.calls for outcome in replay(panel, many))
        took = time.process_time() - started
        promises.holds(f"{name}: {verdicts / took:,.0f} verdicts/s, at least 10,000", verdicts / took >= 10_000)
    items = [_item(trial, tuple(trial.verdicts.values())) for trial in many[:10_000]]
    items = [replace(item, pair=str(number)) for number, item in enumerate(items)]
    started = time.process_time()
    audit(items)
    took = time.process_time() - started
    promises.holds(f"audit of 10,000 pairs, 1,000 replicates: {took:.2f} s, at most 3", took <= 3)


if __name__ == "__main__":
    main()
