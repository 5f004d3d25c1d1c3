"""The configuration of a project, with declared keys."""

from __future__ import annotations

import typing as t

from msgspec import Meta, Struct

from carboy import Carboy
from carboy.project import Project, Secret


class Config(Struct):
    DATABASE_URL: str
    MAIL_PASSWORD: Secret | None = None
    PAGE_SIZE: t.Annotated[int, Meta(ge=1)] = 20


def create_app(environment: str | None = None) -> Carboy:
    app = Carboy(__name__)
    app.config.from_project(environment=environment)
    return app


def root_of(app: Carboy) -> str:
    project: Project | None = app.config.project
    return "" if project is None else project.root


def length(config: Config) -> int:
    return len(config.MAIL_PASSWORD or "")
