"""What a build rests on: which requests it asked, and which of them got no reply."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from pipeline.errors import RecordFailed
from pipeline.records import Ask, Failure, Reply, Request


class Witness:
    """Sees every request of a start. A start that completes a build asks for all that it rests on."""

    def __init__(self) -> None:
        self._seen = array("Q")  # ids as numbers: eight bytes for each request, however long the run
        self.failures: dict[str, Failure] = {}
        """Requests that got no reply, by id."""

    def watching(self, ask: Ask) -> Ask:
        """The same, seen."""

        async def watched(request: Request) -> Reply:
            self._seen.append(int(request.id, 16))
            try:
                return await ask(request)
            except RecordFailed as failure:
                self.failures[request.id] = Failure(request=request.id, code=failure.code, detail=failure.detail)
                raise

        return watched

    def ids(self) -> Iterator[str]:
        """Every request once, in the order of their ids."""
        import numpy as np  # noqa: PLC0415  a tenth of a second, at the end of a run

        for number in np.unique(np.frombuffer(self._seen, dtype=np.uint64)) if self._seen else ():
            yield f"{int(number):016x}"
