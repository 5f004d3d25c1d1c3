"""The example of a model: one valid input, given by the option `example` of `app.model`.

The example is read like a request, so it may be a Python value or JSON. An example that does not
fit the types of `predict` is an error at registration. It is predicted while the model is loaded,
before the first request: libraries then create what they create lazily (kernels, compilers,
caches), and a model that fails on its example never becomes ready.
"""

from __future__ import annotations

import typing as t
from itertools import islice

from carboy.contract.answers import encode
from carboy.errors import InputError, SignatureError

from .queue.calls import rows

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.answers import AnswerWriter
    from carboy.contract.bodies import BodyReader

    from .queue.calls import Arguments, Compute


class Example:
    """The example input of one model, as JSON.

    Args:
        value: the value of the only parameter, or a mapping by parameter name.

    Raises:
        SignatureError: the value does not fit the types of `predict`.
    """

    def __init__(self, value: t.Any, *, codec: BodyReader, owner: str) -> None:
        self._codec = codec
        try:
            self.json = encode(value)
            codec.decode_json(self.json)
        except InputError as exc:
            raise SignatureError(
                f"{owner}: the example does not fit `predict`. {exc.detail}"
            ) from None
        except (NotImplementedError, TypeError, ValueError) as exc:
            raise SignatureError(
                f"{owner}: the example cannot be encoded as a request: {exc}"
            ) from None

    def _decode(self) -> Arguments:
        return self._codec.decode_json(self.json)

    def predict(
        self,
        predict: cabc.Callable[..., t.Any],
        *,
        batch: int,
        bind: cabc.Callable[[cabc.Callable[..., t.Any]], Compute],
        answers: AnswerWriter,
    ) -> None:
        """Warm the model up: predict the example alone, then as a full batch.

        Args:
            predict: the method of the model's object, or the function.
            batch: the size of a full batch.
            bind: returns the function that computes batches by calls of `predict`.
            answers: checks and encodes the result.

        Raises:
            Exception: whatever `predict` raises, or the encoding of its result.
        """
        compute = bind(predict)
        if answers.streams:
            for item in _first_item(compute([self._decode()])[0]):
                answers.encode_json(item)
            return
        for size in (1, batch) if batch > 1 else (1,):
            # Decode the example anew for each entry of each batch, because `predict` may change its
            # arguments in place.
            results = rows(compute([self._decode() for _ in range(size)]), size)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            answers.encode(results[0])


def _first_item(stream: t.Any) -> list[t.Any]:
    """Return the first item of a stream in a list, and close the stream. One item is enough to warm
    up the model. The list is empty if the stream has no items.
    """
    items = iter(stream)
    try:
        return list(islice(items, 1))
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
