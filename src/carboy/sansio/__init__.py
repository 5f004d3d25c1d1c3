"""Modules that exist so that Flask's module paths resolve: `carboy.sansio.app.App` and so on."""

from . import app as app
from . import blueprints as blueprints
from . import scaffold as scaffold
