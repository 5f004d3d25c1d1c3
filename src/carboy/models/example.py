"""The example of a model: an input that is known to be good.

It is read as a request would be, so it may be written as `predict` gets it or as JSON has it, and
one that does not fit is found at registration. When the model is loaded it is predicted before the
first client comes: what is lazy in a library (kernels, compilers, caches) is awake by then, and a
model that cannot answer is never ready.
"""

from __future__ import annotations

import typing as t

from carboy.contract.answers import encode
from carboy.errors import InputError, SignatureError

from .queue.calls import rows

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.answers import AnswerWriter
    from carboy.contract.bodies import BodyReader

    from .queue.calls import Compute


class Example:
    """One input of one model.

    Args:
        value: the bare value of a lone parameter, else a mapping by parameter.

    Raises:
        SignatureError: the model does not take it.
    """

    def __init__(self, value: t.Any, *, codec: BodyReader, owner: str) -> None:
        try:
            self.json = encode(value)
            self.arguments = codec.decode_json(self.json)
        except InputError as exc:
            raise SignatureError(f"{owner}: the example does not fit. {exc.detail}") from None
        except (NotImplementedError, TypeError, ValueError) as exc:
            raise SignatureError(
                f"{owner}: the example cannot be written as a client would send it: {exc}"
            ) from None

    def predict(
        self,
        predict: cabc.Callable[..., t.Any],
        *,
        batch: int,
        bind: cabc.Callable[[cabc.Callable[..., t.Any]], Compute],
        answers: AnswerWriter,
    ) -> None:
        """Warm the model up by one input, then by a full batch. Raises what `predict` raises.

        Args:
            bind: makes the function that computes batches by calls of `predict`.
        """
        compute = bind(predict)
        if answers.streams:
            encode(_first_of(compute([self.arguments])[0]))
            return
        for size in (1, batch) if batch > 1 else (1,):
            answer = rows(compute([self.arguments] * size), size)
            for failure in answer:
                if isinstance(failure, BaseException):
                    raise failure
            answers.encode(answer[0])


def _first_of(answer: t.Any) -> t.Any:
    """Return the first item of a stream, and close it: that warms the model up."""
    items = iter(answer)
    try:
        return next(items, None)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
