"""The examples of a model: valid inputs, given by the options `example` and `examples` of
`app.model`.

An example is read like a request, so it may be a Python value or JSON. An example that does not fit
the types of `predict` is an error at registration. The first one is predicted while the model is
loaded, before the first request: libraries then create what they create lazily (kernels, compilers,
caches), and a model that fails on its example never becomes ready.
"""

from __future__ import annotations

import typing as t
from itertools import islice

import msgspec

from carboy.contract.answers import encode
from carboy.errors import InputError, SignatureError, WrongAnswerError

from .agreement import difference
from .golden import NO_ANSWER, Golden
from .queue.calls import rows

if t.TYPE_CHECKING:
    from carboy.contract.answers import AnswerWriter
    from carboy.contract.bodies import BodyReader

    from .queue.calls import Arguments, Compute


class Example:
    """An example input of one model, as JSON, and the answer to it if that is known.

    Args:
        value: the value of the only parameter, or a mapping by parameter name; or one of them with
            its answer, as a Golden.
        title: how error messages call it.

    Raises:
        SignatureError: the value does not fit the types of `predict`, or a Golden has no answer.
    """

    def __init__(
        self, value: t.Any, *, codec: BodyReader, owner: str, title: str = "the example"
    ) -> None:
        golden = value if isinstance(value, Golden) else Golden(value)
        if golden is value and golden.answer is NO_ANSWER:
            raise SignatureError(
                f"{owner}: {title} is a Golden without an answer, so that there is nothing to"
                " check. Write Golden(input, answer=...), or the input alone."
            )
        self._codec = codec
        self._title = title
        self._tolerance = golden.tolerance
        self.is_golden = golden.answer is not NO_ANSWER
        try:
            self.json = encode(golden.input)
            self._answer = msgspec.json.decode(encode(golden.answer)) if self.is_golden else None
            codec.decode_json(self.json)
        except InputError as exc:
            raise SignatureError(f"{owner}: {title} does not fit `predict`. {exc.detail}") from None
        except (NotImplementedError, TypeError, ValueError) as exc:
            raise SignatureError(
                f"{owner}: {title} cannot be encoded as a request: {exc}"
            ) from None

    def decode(self) -> Arguments:
        """Return the input as new arguments of `predict`, by name."""
        return self._codec.decode_json(self.json)

    def predict(self, compute: Compute, *, batch: int, answers: AnswerWriter) -> None:
        """Predict the example alone, then as a full batch, and compare the answers with the
        expected one.

        Args:
            compute: computes a batch by calls of `predict`.
            batch: the size of a full batch.
            answers: checks and encodes the result.

        Raises:
            WrongAnswerError: the answer is not the expected one.
            Exception: whatever `predict` raises, or the encoding of its result.
        """
        if answers.streams:
            stream = compute([self.decode()])[0]
            # One item is enough to warm up a model.
            items = list(stream) if self.is_golden else _first_item(stream)
            self._compare([msgspec.json.decode(answers.encode_json(item)) for item in items])
            return
        for size in (1, batch) if batch > 1 else (1,):
            # Decode the example anew for each entry of each batch, because `predict` may change its
            # arguments in place.
            results = rows(compute([self.decode() for _ in range(size)]), size)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            answers.encode(results[0])
            if self.is_golden:
                for result in results:
                    self._compare(msgspec.json.decode(answers.encode_json(result)))

    def _compare(self, answer: t.Any) -> None:
        if not self.is_golden:
            return
        found = difference(self._answer, answer, self._tolerance)
        if found:
            raise WrongAnswerError(
                f"the answer to {self._title} is wrong: {found} (tolerance {self._tolerance:g}). If"
                " the new answer is right, change the expected one."
            )


def _first_item(stream: t.Any) -> list[t.Any]:
    """Return the first item of a stream in a list, and close the stream. The list is empty if the
    stream has no items.
    """
    items = iter(stream)
    try:
        return list(islice(items, 1))
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
