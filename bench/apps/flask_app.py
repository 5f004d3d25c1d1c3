"""The Flask program on flask."""

import flask

from . import flask_like

app = flask_like.make(flask)
