"""The predictions that a model must pass before it is ready: its example, to warm it up, and its
golden examples, whose answers are compared with the expected ones.
"""

from __future__ import annotations

import typing as t

from carboy.contract.schemas import body_schema, json_schema
from carboy.core.logmasking import get_masked_logger
from carboy.errors import SignatureError

from .example import Example
from .golden import NO_ANSWER, Golden

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.answers import AnswerWriter
    from carboy.contract.bodies import BodyReader
    from carboy.contract.operation import BodySpec

    from .queue.calls import Compute
    from .saved.card import Card

_logger = get_masked_logger("carboy.models")


class WarmUp:
    """Warms up each object that is built for one model.

    Args:
        examples: those of the model; the first one is predicted, and all that are golden.
        batch: the size of a full batch.
        bind: returns the function that computes batches by calls of `predict`.
    """

    def __init__(
        self,
        examples: cabc.Sequence[Example],
        *,
        owner: str,
        interface: BodySpec,
        codec: BodyReader,
        answers: AnswerWriter,
        batch: int,
        bind: cabc.Callable[[cabc.Callable[..., t.Any]], Compute],
    ) -> None:
        self._examples = [each for i, each in enumerate(examples) if i == 0 or each.is_golden]
        self._owner = owner
        self._interface = interface
        self._codec = codec
        self._answers = answers
        self._batch = batch
        self._bind = bind

    def __call__(self, predict: cabc.Callable[..., t.Any], card: Card | None) -> None:
        """Predict the examples.

        Args:
            predict: the method of the model's object, or the function.
            card: that of the model's files, whose example is golden as well.

        Raises:
            WrongAnswerError: an answer is not the expected one.
            Exception: whatever `predict` raises, or the encoding of its result.
        """
        compute = self._bind(predict)
        found = None if card is None else self._example_of(card)
        for example in self._examples if found is None else (found, *self._examples):
            example.predict(compute, batch=self._batch, answers=self._answers)

    def _example_of(self, card: Card) -> Example | None:
        """Return the example of a card; None if it has none, or it is the example of a function
        with other types than `predict` has, so that its answer is another one.
        """
        if card.example is NO_ANSWER:
            return None
        types = body_schema(self._interface), json_schema(self._answers.item, answered=True)
        if types != (card.input, card.output):
            _logger.info(
                "%s: the example on the card of %s is not checked, because it was computed by a"
                " function whose types are not those of `predict`. Pass one with the same types:"
                " carboy.models.save(..., predict=...), or app.model(..., example=Golden(...)).",
                self._owner,
                card.title,
            )
            return None
        golden = Golden(card.example, card.answer, card.tolerance)
        title = f"the example on the card of {card.title}"
        try:
            return Example(golden, title=title, codec=self._codec, owner=self._owner)
        except SignatureError:  # a card that was written by hand
            return None
