"""Modules with the names of Flask's package `flask.sansio`, so that programs can import `App` and
so on from there.
"""

from . import app as app
from . import blueprints as blueprints
from . import scaffold as scaffold
