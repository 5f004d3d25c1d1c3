"""Flask-SQLAlchemy and Flask-Migrate on SQLite."""

from __future__ import annotations

import pytest
from flask import request
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


@pytest.fixture
def db(app, tmp_path):
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/shop.db"
    app.config["SQLALCHEMY_RECORD_QUERIES"] = True

    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)
    db.init_app(app)

    class Book(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str] = mapped_column(unique=True)

    db.Book = Book
    with app.app_context():
        db.create_all()

    @app.post("/books")
    def add():
        db.session.add(Book(title=request.json["title"]))
        db.session.commit()
        return {}, 201

    @app.get("/books")
    def books():
        page = db.paginate(db.select(Book).order_by(Book.title), per_page=2)
        return {"titles": [book.title for book in page], "pages": page.pages}

    @app.get("/books/<int:number>")
    def book(number):
        return db.get_or_404(Book, number).title

    yield db
    with app.app_context():
        db.engine.dispose()


@pytest.mark.usefixtures("db")
def test_rows_are_created_and_queried(client):
    for title in ("Ulysses", "Emma", "Dune"):
        assert client.post("/books", json={"title": title}).status_code == 201
    assert client.get("/books").json == {"titles": ["Dune", "Emma"], "pages": 2}
    assert client.get("/books?page=2").json["titles"] == ["Ulysses"]


@pytest.mark.usefixtures("db")
def test_missing_row_is_a_404(client):
    assert client.get("/books/7").status_code == 404


def test_session_ends_with_the_request(app, db, client):
    client.post("/books", json={"title": "Emma"})
    with app.app_context():
        first = db.session()
        assert first is db.session()
    with app.app_context():
        assert db.session() is not first


def test_failed_request_leaves_no_open_session(app, db, client):
    @app.get("/half")
    def half():
        db.session.add(db.Book(title="Half"))
        db.session.flush()
        raise RuntimeError

    app.testing = False
    assert client.get("/half").status_code == 500
    assert client.get("/books").json["titles"] == []


def test_query_outside_of_a_context_raises(db):
    with pytest.raises(RuntimeError, match=r"[Ww]orking outside of application context"):
        db.session.query(db.Book).all()


def test_migrations_run_from_the_command_line(app, db, tmp_path):
    Migrate(app, db, directory=str(tmp_path / "migrations"))
    with app.app_context():
        db.drop_all()
    runner = app.test_cli_runner()
    for command in ("init", "migrate", "upgrade"):
        result = runner.invoke(args=["db", command])
        assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "migrations" / "versions").glob("*.py"))) == 1
