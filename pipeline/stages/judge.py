"""From candidates to a preference: draws the order, polls the jury, lets policy and ranking settle.

Two answers are settled by the policy. Of more, a ranking says which two to compare next, by one call or by the policy,
and which two become the pair.

Position belongs here and nowhere else. A judge sees a first and a second answer; which is which is a hash of the
seed and the pair, and a policy's next call for the pair may take the opposite order. The hash knows no judge: errors
of two judges correlate .50 in the same order and .25 in opposite ones, so a policy must be able to say "another judge,
the other way round". What an answer is (`x`, `y`: sorted by id, since the order of candidates means nothing) and where
it stands (`a`, `b`) never mix.

Where only one order is seen, a coin per pair leaves the shares of first places to chance, and a judge's liking for a
place with them (benchmarks/ranking.py prints the spreads):

- More than two answers sit in a circle, drawn by the hash, and each stands first against the half of the others that
  follows it. In a round of ten answers, one call a pair, each then stands first four or five times; by a coin per pair
  the number of first places has a standard deviation of 1.5.
- Under a policy that sees one order only, the pairs of a chunk take turns at showing the author's words first, the
  first turn drawn by the hash of the chunk. Over 2,000 pairs in chunks of five, the share of pairs that show them first
  then has a standard deviation of .5 points, by a coin per pair of 1.1. Turns end at the chunk, so that another
  article changes no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from judges.by_model import is_kin
from judges.hearing import heard
from judges.policy import support
from judges.self_votes import confirmed
from pipeline.identity import coin, fraction
from pipeline.recipe import JudgeSettings
from pipeline.records import Answer, Ask, Candidates, Loss, Preference, Ranked, Settled, Showing, Verdict
from pipeline.registry import Call, Deliberation, Judge, Match, Played


@dataclass(frozen=True)
class Judged:
    """A preference, and the Loss that goes with it if nothing was decided."""

    preference: Preference
    loss: Loss | None


async def judge(candidates: Candidates, settings: JudgeSettings, seed: int, ask: Ask, place: int = 0) -> Judged:
    """The jury's preference among the candidates; `place` is their number among those of their chunk.

    A verdict that cannot be read, or that the engine could not deliver, decides nothing: if the pair stays undecided
    because of it, the pair has failed and a later run asks again; if the jury just disagrees, it is dropped.
    """
    hearing = _Hearing(candidates, settings, seed, ask, place)
    ranked = await (_several(hearing) if candidates.several else _two(hearing))
    preference = Preference(
        candidates=candidates,
        verdicts=tuple(hearing.verdicts),
        chosen=ranked.chosen,
        rejected=ranked.rejected,
        strength=ranked.strength,
        reason=ranked.reason,
        standings=ranked.standings,
        cycle=ranked.cycle,
    )
    return Judged(preference, None if preference.decided else _loss(preference))


async def _two(hearing: _Hearing) -> Ranked:
    """What the policy, or the author's name, makes of two answers."""
    x, y = sorted(hearing.candidates.answers, key=lambda answer: answer.id)
    settled = Settled(winner=None, strength=None)
    if hearing.settings.jury:
        (played,) = await hearing.play([Match(x.id, y.id, in_full=True)])
        settled = played.settled
    if hearing.settings.label == "extracted":
        settled = _by_origin(x, y, tuple(hearing.verdicts))
    if hearing.settings.label == "origin":
        settled = _as_meant(hearing, settled)
    loser = y.id if settled.winner == x.id else x.id
    return Ranked(
        chosen=settled.winner,
        rejected=loser if settled.winner else None,
        strength=settled.strength,
        reason=settled.reason,
    )


def _by_origin(x: Answer, y: Answer, verdicts: tuple[Verdict, ...]) -> Settled:
    """The author's own words win; the verdicts only measure how a jury sees it."""
    extracted = [answer.id for answer in (x, y) if answer.origin == "extracted"]
    if len(extracted) != 1:
        return Settled(winner=None, strength=None, reason="no_extracted_answer")
    return Settled(winner=extracted[0], strength=support(extracted[0], verdicts))


def _as_meant(hearing: _Hearing, settled: Settled) -> Settled:
    """The answer wins that its generator meant to be better, unless the jury has a say in it and settled on the other.

    A jury that settles on neither says nothing against it.
    """
    meant = hearing.candidates.preferred
    if meant is None:
        return Settled(winner=None, strength=None, reason="no_preferred_answer")
    if hearing.settings.agree and settled.winner not in (meant, None):
        return Settled(winner=None, strength=settled.strength, reason="jury_disagrees")
    return Settled(winner=meant, strength=support(meant, tuple(hearing.verdicts)))


async def _several(hearing: _Hearing) -> Ranked:
    """What the ranking makes of more than two answers."""
    ids, favourite = hearing.candidates.answer_ids, None
    if hearing.settings.label == "extracted":
        extracted = [answer.id for answer in hearing.candidates.answers if answer.origin == "extracted"]
        if len(extracted) != 1:
            return Ranked(chosen=None, rejected=None, strength=None, reason="no_extracted_answer")
        favourite = extracted[0]
        if not hearing.settings.jury:
            return Ranked(chosen=favourite, rejected=hearing.drawn(set(ids) - {favourite}), strength=None)
    contest = hearing.settings.rank.contest(ids, favourite)
    try:
        matches = next(contest)
        while True:
            matches = contest.send(await hearing.play(matches))
    except StopIteration as end:
        ranked: Ranked = end.value
        return ranked


@dataclass
class _Hearing:
    """The jury before one set of candidates: who is asked what in which order, and what was said."""

    candidates: Candidates
    settings: JudgeSettings
    seed: int
    ask: Ask
    place: int
    _said: dict[tuple[frozenset[str], Call], Verdict] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        """Every verdict once, in the order in which they were wanted."""
        return list(self._said.values())

    async def play(self, matches: Sequence[Match]) -> list[Played]:
        """What matches come to, all at once."""
        played = await asyncio.gather(*(self._play(match) for match in matches))
        for item in played:  # filed here and not where they come in: the order must not depend on who is quick
            for call, verdict in item.calls.items():
                self._said.setdefault((frozenset((verdict.x, verdict.y)), call), verdict)
        return [Played(item.match, item.settled, tuple(item.calls.values())) for item in played]

    async def _play(self, match: Match) -> _Talk:
        """Asks for what the policy wants, as often as it wants, all calls of a round at once; or its first call."""
        x, y = sorted((self.candidates.answer(match.one), self.candidates.answer(match.other)), key=lambda a: a.id)
        talks = self._talks(x, y)
        heard: dict[Call, Verdict] = {}
        try:
            calls = next(talks)
            if not match.in_full:
                verdict = await self._poll(calls[0], x, y)
                return _Talk(match, _at_its_word(verdict), {calls[0]: verdict})
            while True:
                new = await asyncio.gather(*(self._poll(call, x, y) for call in calls))
                heard.update(zip(calls, new, strict=True))
                calls = talks.send(new)
        except StopIteration as end:
            return _Talk(match, end.value, heard)

    def _talks(self, x: Answer, y: Answer) -> Deliberation:
        talks = self.settings.policy.deliberate([judge.label for judge in self.settings.jury])
        if self.settings.self_votes == "allow" or self.settings.label == "extracted":
            return talks
        return confirmed(talks, _strangers(self.settings.jury, (x, y)))

    async def _poll(self, call: Call, x: Answer, y: Answer) -> Verdict:
        """One verdict; what was said before is not asked again."""
        said = self._said.get((frozenset((x.id, y.id)), call))
        if said is not None:
            return said
        showing = Showing(
            pair=self.candidates.id,
            instruction=self.candidates.question,
            source=self.candidates.reference,
            x=x,
            y=y,
            swapped=self._y_first(x, y) != call.other,
        )
        return await heard(self._judge(call.judge), showing, self.ask)

    def _judge(self, label: str) -> Judge:
        return next(judge for judge in self.settings.jury if judge.label == label)

    def _y_first(self, x: Answer, y: Answer) -> bool:
        """Whether y stands first when a call does not ask for the other order."""
        if self.candidates.several:
            return follows(x.id, y.id, self._circle, tie=coin(self.seed, self.candidates.id, x.id, y.id))
        if not self.settings.policy.one_order:
            return coin(self.seed, self.candidates.id)
        authors = min((x, y), key=lambda answer: (answer.origin, answer.id))  # extracted, generated, given
        return in_turn(self.seed, self.candidates.source.id, self.place) == (authors is y)

    @cached_property
    def _circle(self) -> list[str]:
        """All answers' ids in the order that the hash gives."""
        return sorted(self.candidates.answer_ids, key=lambda answer: fraction(self.seed, self.candidates.id, answer))

    def drawn(self, ids: set[str]) -> str:
        """One of these answers, by the hash."""
        return min(ids, key=self._circle.index)


@dataclass(frozen=True)
class _Talk:
    """A match, what it came to, and what was said in it by call."""

    match: Match
    settled: Settled
    calls: dict[Call, Verdict]


def follows(one: str, other: str, circle: Sequence[str], *, tie: bool) -> bool:
    """Whether `one` is among the half of the circle that follows `other`; `tie` if they face each other."""
    steps = (circle.index(one) - circle.index(other)) % len(circle)
    return tie if 2 * steps == len(circle) else 2 * steps < len(circle)


def in_turn(seed: int, chunk: str, place: int) -> bool:
    """Whether it is the turn of the author's words to stand first."""
    return coin(seed, chunk) != bool(place % 2)


def _at_its_word(verdict: Verdict) -> Settled:
    """What one verdict amounts to in a match of one call."""
    if verdict.winner is not None:
        return Settled(winner=verdict.winner, strength=1.0)
    return Settled(winner=None, strength=None, reason=verdict.said)


def _strangers(jury: Sequence[Judge], answers: Sequence[Answer]) -> list[str]:
    """The judges that ask a model and that none of the answers is kin to, by label."""
    return [judge.label for judge in jury if judge.prompts and not any(is_kin(judge, answer) for answer in answers)]


def _loss(preference: Preference) -> Loss:
    unreadable = [verdict for verdict in preference.verdicts if verdict.said == "unreadable"]
    if preference.reason != "unreadable":
        return Loss(stage="judge", record=preference.id, fate="dropped", code=preference.reason)
    return Loss(
        stage="judge",
        record=preference.id,
        fate="failed",
        code=f"unreadable.{unreadable[0].reason.split(':')[0]}",
        detail="; ".join(f"{verdict.judge}: {verdict.reason}" for verdict in unreadable),
        requests=tuple(
            request
            for verdict in unreadable
            if not verdict.reason.startswith("refused")  # it would decline again, and be paid again
            for request in verdict.requests
        ),
    )
