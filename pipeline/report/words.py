"""Numbers as people read them."""

from __future__ import annotations

from pipeline.records import Bill


def dollars(bill: Bill) -> str:
    """What calls cost; a price that is not known is said, never counted as nothing."""
    known = f"{bill.cost_usd:.4f} USD" if 0 < bill.cost_usd < 1 else f"{bill.cost_usd:.2f} USD"
    if not bill.unpriced:
        return known
    if bill.unpriced == bill.calls:
        return "cost unknown"
    return f"{known} and {bill.unpriced:,} calls of unknown price"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 2:05:09 or 05:09."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """A number and what it counts: `1 call`, `2,500 tokens`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(reasons: dict[str, int]) -> str:
    """Reasons by how often they occur: `length.too_short 3, format.end 1`."""
    return ", ".join(
        f"{code} {count:,}" for code, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    )
