"""The Flask program on carboy."""

import carboy

from . import flask_like

app = flask_like.make(carboy)
