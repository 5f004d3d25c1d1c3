"""Flask-Admin: a whole site made of class-based views, blueprints and templates."""

from __future__ import annotations

import pytest
from flask_admin import Admin, BaseView, expose
from flask_admin.contrib.sqla import ModelView
from flask_babel import Babel
from flask_sqlalchemy import SQLAlchemy


class Reports(BaseView):
    @expose("/")
    def index(self):
        return self.render("admin/index.html")

    @expose("/raw")
    def raw(self):
        return f"raw report at {self.get_url('.index')}"


@pytest.fixture
def client(app):
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    Babel(app)  # Flask-Admin requires it where it is installed
    db = SQLAlchemy(app)

    class Book(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        title = db.Column(db.String(50))

    admin = Admin(app, name="Shop")
    admin.add_view(ModelView(Book, db, name="Books"))
    admin.add_view(Reports(name="Reports", endpoint="reports"))
    with app.app_context():
        db.create_all()
        yield app.test_client()
        db.session.remove()
        db.engine.dispose()


def test_row_is_created_and_listed_through_the_site(client):
    answer = client.post("/admin/book/new/", data={"title": "Emma"}, follow_redirects=True)
    assert answer.status_code == 200
    assert answer.request.path == "/admin/book/"
    assert "Emma" in answer.text


def test_custom_view_is_in_the_menu(client):
    assert 'href="/admin/reports/"' in client.get("/admin/").text
    assert client.get("/admin/reports/raw").text == "raw report at /admin/reports/"


def test_static_files_of_its_blueprint_are_served(client):
    assert client.get("/admin/static/admin/js/helpers.js").status_code == 200
