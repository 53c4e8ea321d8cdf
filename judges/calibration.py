"""What gold labels say of the judges: how far to trust each, kept in a file that recipes name.

A gold pair is two answers of which somebody knows the better. Every judge sees it in both orders. From that follow

- rates with 95% intervals (bootstrap over pairs): accuracy, position consistency, share of first answers, of ties and
  of unreadable replies;
- the evidence in each verdict (judges/evidence.py), and a weight, the log-odds of the judge's accuracy: a ranking;
- what the jury's agreement says beside gold, and whether it may be trusted (judges/jury.py);
- what each judge alone and each policy costs, in calls and in US dollars, and how often it is right.

Fifty pairs find the strongest of four judges in .94 of the samples (a hundred in .99; recorded judgments of LLMBar,
princeton-nlp/LLMBar, 466 human-labelled pairs). Labels are scarce, so counts are smoothed; half or twice as much
changes no figure in judges/policy/sprt.py by more than a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from judges.audit import Item, audit
from judges.evidence import Evidence, accuracies, evidence, weights
from judges.gold import Trial, gold_digest
from judges.jury import dawid_skene
from pipeline.errors import UserError, did_you_mean
from pipeline.records import Estimate, JudgeAudit, Record, Verdict

Unlabelled = Mapping[str, Sequence[Verdict]]
"""Verdicts by pair, on pairs of which nobody knows the better answer."""


class PolicyScore(Record):
    """What a policy costs and how often it is right. A measure is None if nothing was decided."""

    policy: str
    """Which one."""
    pairs: int
    """Gold pairs that it was tried on."""
    calls_per_decided: Estimate | None
    """Model calls, for undecided pairs too, over pairs decided; of a recording, verdicts."""
    calls_per_right: Estimate | None
    """The same over pairs decided rightly."""
    usd_per_decided: Estimate | None = None
    """US dollars, for undecided pairs too, over pairs decided; None if the price of a single call is not known."""
    usd_per_right: Estimate | None = None
    """The same over pairs decided rightly."""
    accuracy: Estimate | None
    """Share of pairs decided rightly; an undecided pair counts one half."""
    precision: Estimate | None
    """Share of decided pairs that are decided rightly."""
    yielded: Estimate | None
    """Share of pairs that are decided."""


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
    alone: PolicyScore | None = None
    """What it costs and how often it is right by itself: a pair is decided if it says the same in both orders."""


class Concord(Record):
    """What the jury's agreement says of the judges, with gold pairs as anchors (Dawid-Skene)."""

    unlabelled: int
    """Pairs without gold that it was inferred from."""
    evidence: dict[str, Evidence]
    """What each judge's words are worth, by its label; nothing if refused."""
    refused: str = ""
    """Why it is not to be trusted: what agreement alone concludes about a judge contradicts gold."""


class Calibration(Record):
    """What gold says of the judges."""

    gold: str
    """Digest of the gold pairs that it was made from."""
    pairs: int
    """How many these were."""
    judges: dict[str, JudgeCalibration]
    """By label, the strongest first."""
    concord: Concord | None = None
    """What their agreement says beside gold."""
    longer_wins: Estimate | None = None
    """Share of the gold pairs whose better answer is the longer one: what the rule "the longer wins" would score."""
    effective_judges: Estimate | None = None
    """How many independent judges they are worth; None for fewer than two."""
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

    def agreed_evidence(self, jury: Sequence[str]) -> dict[str, Evidence]:
        """What the words of each are worth by the jury's agreement, with gold as anchors.

        Raises:
            UserError: it contradicts gold, was never made, or does not know one of the judges.
        """
        if self.concord is None or self.concord.refused:
            why = self.concord.refused if self.concord else "this file was made without asking what the jury agrees on"
            raise UserError(
                f"the calibration refuses weights by agreement: {why}",
                where="judge.policy.weights",
                remedy="Write weights: gold, or calibrate again with better judges",
            )
        for judge in jury:
            self._of(judge)
        return {judge: self.concord.evidence[judge] for judge in jury}

    def _of(self, judge: str) -> JudgeCalibration:
        if judge not in self.judges:
            raise UserError(
                f"the calibration knows no judge {judge!r}. {did_you_mean(judge, self.judges)}",
                where="judge.policy.calibration",
                remedy="Calibrate this jury with `pairwright judge calibrate`, or take the judge out",
            )
        return self.judges[judge]


def fit(trials: Sequence[Trial], seed: int = 2026, unlabelled: Unlabelled | None = None) -> Calibration:
    """Everything that the trials, and verdicts on pairs without gold, say of their judges.

    Raises:
        UserError: there are no trials, or nothing that a judge said could be read.
    """
    if not trials:
        raise UserError("no gold pair was judged", remedy="Give gold pairs that the judgments are about")
    audited = audit(map(_item, trials), seed)
    accuracy, tables, ranks = accuracies(trials, seed), evidence(trials), weights(trials)
    return Calibration(
        gold=gold_digest(trial.pair for trial in trials),
        pairs=len(trials),
        judges={
            judge: JudgeCalibration(
                accuracy=accuracy[judge],
                behaviour=audited.judges[judge],
                evidence=tables[judge],
                weight=ranks[judge],
            )
            for judge in accuracy
        },
        concord=_concord(trials, unlabelled or {}, seed),
        longer_wins=audited.longer_wins,
        effective_judges=audited.effective_judges,
    )


def _concord(trials: Sequence[Trial], unlabelled: Unlabelled, seed: int) -> Concord:
    """The jury's agreement over all pairs, those of the same judges; refused where it contradicts gold."""
    known = {call.judge for trial in trials for call in trial.verdicts}
    heard = {pair: [verdict for verdict in said if verdict.judge in known] for pair, said in unlabelled.items()}
    heard = {pair: said for pair, said in heard.items() if said}
    try:
        found = dawid_skene(heard, trials, seed=seed)
    except UserError as refusal:
        return Concord(unlabelled=len(heard), evidence={}, refused=refusal.what)
    return Concord(unlabelled=len(heard), evidence=found.evidence)


def _item(trial: Trial) -> Item:
    return Item(
        pair=trial.pair.pair_id,
        verdicts=tuple(trial.verdicts.values()),
        lengths=trial.pair.lengths,
        winner=trial.right,
        gold=trial.right,
    )


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
