"""Modules that exist only so that Flask's module paths can be imported: `carboy.sansio.app.App` and
so on.
"""

from . import app as app
from . import blueprints as blueprints
from . import scaffold as scaffold
