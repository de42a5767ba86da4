"""The candidate's part of a shadow: ask it what the serving worker was asked, and count how the answers compare.

Nobody waits for these answers and nobody sees them; the latency that is counted is the runtime's, as for any answer.
"""

from __future__ import annotations

import time
from typing import Final

from pinnace_agent.worker import open_inference
from pinnace_agent.worker.copies import Copy
from pinnace_agent.worker.counts import Counts
from pinnace_agent.worker.model import Model, means_no_memory
from pinnace_runtime import golden
from pinnace_runtime.agreement import Agreement
from pinnace_runtime.errors import BadInput, InferenceError

NO_REQUEST: Final = 0  # requests of applications are numbered from 1: no label is ever for a copy
REFUSED: Final = "refused"  # what the serving release answers and this one would not


class Shadow:
    """Answers copies with the one model of this process."""

    def __init__(self, model: Model, counts: Counts) -> None:
        self._model, self._counts = model, counts
        self._reader = open_inference.Reader(model.release.contract)
        max_abs = golden.tolerance_for(model.release.golden, model.variant).max_abs
        confidence = model.baseline.confidence if model.baseline else None
        self._agreement = Agreement(model.release.contract, max_abs, confidence.output if confidence else None)

    def answer(self, copy: Copy) -> None:
        """Answer a copy and count the pair; a request that fails here is a pair that differs.

        Raises:
            MemoryError: an allocation failed inside the model: this process must end.
        """
        began = time.monotonic_ns()
        timed = self._model.timed
        timed.spent_ns = 0
        outputs = None
        try:
            asked, inputs = self._reader.read(copy.body, copy.json_bytes)
            outputs = self._model.pipeline.infer(inputs, raw=not asked.preprocessed)
        except (open_inference.BadRequest, open_inference.TooLargeToRead, BadInput):
            self._counts.failed(REFUSED, reached_the_model=False)
        except InferenceError as error:
            if means_no_memory(error):
                raise MemoryError(str(error)) from error
            self._counts.failed("runtime", reached_the_model=True)
        else:
            total_ns = time.monotonic_ns() - began
            self._counts.answered(NO_REQUEST, None, outputs, total_ns=total_ns, run_ns=timed.spent_ns)
        self._counts.compared(self._agreement.compare(copy.outputs, outputs), dropped=copy.dropped)
