"""The stored label is what the votes say: judges driven through every verdict, order, policy and ranking of 2 to 6.

What was said is written down as texts, by the judge itself, and counted here by hand: nothing below knows of ids, of
x and y, or of `swapped`. tests/stages/test_mutations.py breaks the code on purpose and sees these tests fail.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from pydantic import PrivateAttr

from judges.by_model import verdict
from judges.policy.both_orders import BothOrders
from judges.policy.full import Full
from judges.policy.lead import Lead
from judges.policy.one_call import OneCall
from judges.policy.sprt import Sprt
from judges.ranking.bradley_terry import BradleyTerry
from judges.ranking.max_and_min import MaxAndMin
from judges.ranking.round_robin import RoundRobin
from pipeline.calibrate import from_recording
from pipeline.records import Answer, Ask, Candidates, Preference, Said, Showing, Verdict
from pipeline.registry import Judge, Policy, Ranking
from pipeline.stages.judge import Judged, judge
from tests.support.build import PROMPT, Script, make_chunk, make_jury

Rule = Callable[[str, str, str], Said]
"""What the judge of this name says of the text that stands first and the one that stands second."""

SAID: tuple[Said, ...] = ("a", "b", "tie", "unreadable")
JURY = ("one", "two")
RULES: tuple[Literal["worst", "near-mu-2sigma", "closest-clear-loser"], ...] = (
    "worst",
    "near-mu-2sigma",
    "closest-clear-loser",
)
RANKINGS: dict[str, Ranking] = {
    "max-and-min": MaxAndMin(),
    **{f"round-robin {rule}": RoundRobin(rejected=rule) for rule in RULES},
    **{f"bradley-terry {rule}": BradleyTerry(rejected=rule) for rule in RULES},
    "bradley-terry by policy": BradleyTerry(matches="policy"),
}
WORST = ("max-and-min", "round-robin worst", "bradley-terry worst", "bradley-terry by policy")


class Heard(NamedTuple):
    """What a judge was shown and what it said."""

    judge: str
    first: str
    second: str
    said: Said

    @property
    def winner(self) -> str | None:
        """The text that it named."""
        return {"a": self.first, "b": self.second}.get(self.said)


class Oracle(Judge):
    """Says what a rule says, and writes it down."""

    use: Literal["oracle"] = "oracle"
    _rule: Rule = PrivateAttr()
    _heard: list[Heard] = PrivateAttr()

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    async def __call__(self, showing: Showing, ask: Ask) -> Verdict:  # noqa: ARG002  it asks nobody
        """What the rule says of the two texts."""
        said = self._rule(self.name, showing.a, showing.b)
        self._heard.append(Heard(self.name, showing.a, showing.b, said))
        return verdict(self, showing, said, reason="empty: nothing" if said == "unreadable" else "")


class Case(NamedTuple):
    """One trial: a preference, and what the judges said on the way to it."""

    result: Judged
    heard: list[Heard]

    @property
    def preference(self) -> Preference:
        """What is stored."""
        return self.result.preference

    @property
    def chosen(self) -> str:
        """The chosen text."""
        return self.preference.chosen_answer.text

    @property
    def rejected(self) -> str:
        """The rejected text."""
        return self.preference.rejected_answer.text

    def between(self) -> list[Heard]:
        """What was said of the chosen and the rejected text."""
        return [heard for heard in self.heard if {heard.first, heard.second} == {self.chosen, self.rejected}]


def texts_of(number: int, turn: int = 0) -> list[str]:
    """So many texts; other ones in each turn, so that their ids come in another order."""
    return [f"answer {name} {turn}" for name in "pqrstu"[:number]]


def tried(
    texts: Sequence[str],
    rule: Rule,
    policy: Policy,
    ranking: Ranking | None = None,
    *,
    seed: int = 1,
    jury: Sequence[str] = ("one",),
    place: int = 0,
) -> Case:
    """The judge stage on these texts."""
    heard: list[Heard] = []
    judges = []
    for name in jury:
        oracle = Oracle(name=name)
        oracle._rule, oracle._heard = rule, heard
        judges.append(oracle)
    answers = tuple(Answer(text=text, origin="generated") for text in texts)
    candidates = Candidates(
        instruction="Which?", answers=answers, source=make_chunk(), prompt=PROMPT, requests=("0" * 16,)
    )
    settings = make_jury("one").model_copy(
        update={"jury": tuple(judges), "policy": policy, "rank": ranking or RANKINGS["max-and-min"]}
    )
    return Case(asyncio.run(judge(candidates, settings, seed, Script(), place)), heard)


@pytest.fixture(name="policies", scope="module")
def _policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Policy]:
    folder = tmp_path_factory.mktemp("calibration")
    gold, recorded = folder / "gold.jsonl", folder / "judgments.jsonl"
    pairs = [{"pair_id": str(n), "prompt": "p", "a": "A", "b": "B", "gold": "ab"[n % 2]} for n in range(20)]
    gold.write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    lines = [
        {"pair_id": pair["pair_id"], "judge": name, "order": order, "winner": pair["gold"]}
        for pair, name, order in product(pairs, JURY, ("ab", "ba"))
    ]
    recorded.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    from_recording(gold, recorded, None, folder / "calibration.json")
    return every_policy(folder / "calibration.json")


def every_policy(calibration: Path) -> dict[str, Policy]:
    return {
        "one-call": OneCall(),
        "both-orders": BothOrders(),
        "lead": Lead(),
        "full": Full(),
        "sprt": Sprt(calibration=calibration),
        "sprt, early reject": Sprt(calibration=calibration, early_reject=True),
    }


# --- what the votes say, counted by hand ---


def assert_votes_say_so(case: Case, policy: str) -> None:
    """A pair that was decided has more votes for its chosen than for its rejected text, and of the right kind."""
    stored = case.preference
    if not stored.decided:
        assert (stored.chosen, stored.rejected, stored.strength) == (None, None, None)
        assert stored.reason
        assert case.result.loss is not None
        return
    between = case.between()
    winners = [heard.winner for heard in between]
    assert winners.count(case.chosen) > winners.count(case.rejected)
    if policy != "one-call":
        places = {heard.first == case.chosen for heard in between if heard.winner == case.chosen}
        assert places == {True, False}, "won from one place only"
    readable = [heard for heard in between if heard.said != "unreadable"]
    lead = winners.count(case.chosen) - winners.count(case.rejected)
    assert stored.strength == pytest.approx(lead / len(readable))
    assert stored.reason == ""
    assert case.result.loss is None
    for standing in stored.standings:
        text = stored.candidates.answer(standing.answer).text
        assert (standing.won > 0) <= any(heard.winner == text for heard in case.heard)


def assert_verdicts_say_what_was_said(case: Case) -> None:
    """Every verdict is stored once, with the texts where they stood."""
    stored = case.preference
    seen = []
    for item in stored.verdicts:
        first, second = (item.y, item.x) if item.swapped else (item.x, item.y)
        texts = (stored.candidates.answer(answer).text for answer in (first, second))
        seen.append(Heard(item.judge, *texts, item.said))
    assert sorted(seen) == sorted(case.heard)
    assert len({(item.judge, item.first, item.second) for item in case.heard}) == len(case.heard), "asked twice"


def table(texts: Sequence[str], jury: Sequence[str], words: Sequence[Said]) -> Rule:
    """A rule that says these words, one for each judge and each ordered pair of texts."""
    keys = [(name, first, second) for name in jury for first, second in permutations(texts, 2)]
    said = dict(zip(keys, words, strict=True))
    return lambda name, first, second: said[name, first, second]


@pytest.mark.parametrize("jury", [JURY[:1], JURY])
def test_of_two_answers_every_combination_of_verdicts_is_stored_as_it_was_said(
    jury: tuple[str, ...], policies: dict[str, Policy]
) -> None:
    """All 4 or 16 verdict pairs of each judge, whichever answer the hash shows first, under every policy."""
    texts = texts_of(2)
    decided = 0
    for words in product(SAID, repeat=2 * len(jury)):
        for policy, seed in product(policies, (1, 2) if len(jury) == 1 else (1,)):
            case = tried(texts, table(texts, jury, words), policies[policy], seed=seed, jury=jury)
            assert_votes_say_so(case, policy)
            assert_verdicts_say_what_was_said(case)
            decided += case.preference.decided
    assert decided > 20


@pytest.mark.parametrize("number", [3, 4, 5, 6])
@pytest.mark.parametrize("ranking", RANKINGS)
def test_of_several_answers_any_verdicts_whatever_are_stored_as_they_were_said(
    ranking: str, number: int, policies: dict[str, Policy]
) -> None:
    draw = random.Random(f"{ranking} {number}")
    decided = 0
    for turn in range(8):
        texts = texts_of(number, turn)
        for name, policy in policies.items():
            jury = JURY[: 1 + turn % 2]
            words = draw.choices(SAID, weights=(4, 4, 1, 1), k=len(jury) * number * (number - 1))
            case = tried(texts, table(texts, jury, words), policy, RANKINGS[ranking], seed=turn, jury=jury)
            assert_votes_say_so(case, name)
            assert_verdicts_say_what_was_said(case)
            decided += case.preference.decided
    assert decided > 2


# --- judges whose answer is known ---


def by_quality(order: Sequence[str]) -> Rule:
    """A judge that always finds the text that stands earlier in this order, wherever it is shown."""
    return lambda _, first, second: "a" if order.index(first) < order.index(second) else "b"


def shuffles(number: int) -> Iterator[list[str]]:
    """Some orders of quality."""
    draw = random.Random(number)
    for turn in range(6):
        texts = texts_of(number, turn)
        yield draw.sample(texts, number)


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("ranking", RANKINGS)
def test_an_oracle_finds_the_best_answer_under_every_policy_and_ranking(
    ranking: str, number: int, policies: dict[str, Policy]
) -> None:
    for turn, order in enumerate(shuffles(number)):
        for policy in policies.values():
            case = tried(sorted(order), by_quality(order), policy, RANKINGS[ranking], seed=turn, place=turn)
            assert case.chosen == order[0]
            if ranking in WORST:
                assert case.rejected == order[-1]
            if "closest" in ranking:
                assert case.rejected == order[1]
            assert case.preference.strength == 1
            assert case.preference.cycle == ()
            ranked = [case.preference.candidates.answer(item.answer).text for item in case.preference.standings]
            assert ranked == ([] if number == 2 else ranked)
            if number > 2:
                assert (ranked[0], ranked[-1]) == (order[0], order[-1])
                assert ranking == "max-and-min" or ranked == order


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("word", ["a", "b"])
def test_a_judge_that_always_names_the_same_place_settles_nothing(
    ranking: str, number: int, word: Said, policies: dict[str, Policy]
) -> None:
    for turn in range(3):
        for name, policy in policies.items():
            if name != "one-call":
                case = tried(texts_of(number, turn), lambda *_: word, policy, RANKINGS[ranking], seed=turn, jury=JURY)
                assert not case.preference.decided
                assert case.preference.reason in ("disagreement", "tie", "cycle")


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize(("word", "fate"), [("tie", "dropped"), ("unreadable", "failed")])
def test_ties_alone_and_unreadable_verdicts_alone_win_nothing_and_are_told_apart(
    ranking: str, number: int, word: Said, fate: str, policies: dict[str, Policy]
) -> None:
    for policy in policies.values():
        case = tried(texts_of(number), lambda *_: word, policy, RANKINGS[ranking])
        assert not case.preference.decided
        assert case.preference.reason == word
        assert case.result.loss is not None
        assert case.result.loss.fate == fate


@pytest.mark.parametrize("number", [3, 4, 5, 6])
@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("word", ["tie", "unreadable"])
def test_an_answer_is_not_out_of_the_race_for_what_was_no_verdict_on_it(
    ranking: str, number: int, word: Said, policies: dict[str, Policy]
) -> None:
    """The two best are compared in vain; both beat all others, so that one of them is still the one that is chosen."""
    for turn, order in enumerate(shuffles(number)):
        tell = by_quality(order)

        def rule(name: str, first: str, second: str, order: Sequence[str] = order, tell: Rule = tell) -> Said:
            return word if {first, second} == set(order[:2]) else tell(name, first, second)

        case = tried(sorted(order), rule, policies["both-orders"], RANKINGS[ranking], seed=turn)
        assert case.chosen in order[:2]
        assert case.rejected not in order[:2]
        assert "worst" not in ranking or case.rejected == order[-1]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_jury_that_goes_round_in_a_circle_decides_nothing_and_the_circle_is_stored(
    ranking: str, policies: dict[str, Policy]
) -> None:
    for turn in range(6):
        circle = random.Random(turn).sample(texts_of(3, turn), 3)

        def rule(_: str, first: str, second: str, circle: Sequence[str] = circle) -> Said:
            return "a" if circle[(circle.index(first) + 1) % 3] == second else "b"

        for name, policy in policies.items():
            case = tried(sorted(circle), rule, policy, RANKINGS[ranking], seed=turn)
            assert not case.preference.decided, name
            assert case.preference.reason == "cycle"
            around = [case.preference.candidates.answer(answer).text for answer in case.preference.cycle]
            start = circle.index(around[0])
            assert around == circle[start:] + circle[:start]
