"""Flask-JWT-Extended, Flask-HTTPAuth, Flask-Security: authentication other than Flask-Login's."""

from __future__ import annotations

import flask
import pytest
from flask_httpauth import HTTPBasicAuth
from flask_jwt_extended import JWTManager, create_access_token, get_jwt_identity, jwt_required


@pytest.fixture
def jwt(app):
    JWTManager(app)

    @app.post("/token")
    def token():
        return {"token": create_access_token(identity=flask.request.json["name"])}

    @app.get("/mine")
    @jwt_required()
    def mine():
        return get_jwt_identity()

    return app.test_client()


def test_token_gives_access_to_the_view(jwt):
    token = jwt.post("/token", json={"name": "ada"}).json["token"]
    assert jwt.get("/mine", headers={"Authorization": f"Bearer {token}"}).text == "ada"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer x.y.z"}, 422)],
    ids=["no token", "forged"],
)
def test_errors_raised_by_the_extension_reach_its_handlers(jwt, headers, status):
    answer = jwt.get("/mine", headers=headers)
    assert answer.status_code == status
    assert "msg" in answer.json


@pytest.fixture
def basic(app):
    auth = HTTPBasicAuth()

    @auth.verify_password
    def verify(name, password):
        return name if password == "sesame" else None

    @app.get("/mine")
    @auth.login_required
    def mine():
        return auth.current_user()

    return app.test_client()


def test_basic_authentication(basic):
    assert basic.get("/mine", auth=("ada", "sesame")).text == "ada"
    refused = basic.get("/mine", auth=("ada", "wrong"))
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")


def test_flask_security_logs_in_over_json(app):
    from flask_security import Security, SQLAlchemyUserDatastore, auth_required
    from flask_security.models import fsqla_v3
    from flask_sqlalchemy import SQLAlchemy

    app.config.update(
        SECURITY_PASSWORD_SALT="salt",
        SECURITY_PASSWORD_HASH="plaintext",
        SECURITY_PASSWORD_SCHEMES=["plaintext"],
        SQLALCHEMY_DATABASE_URI="sqlite://",
        WTF_CSRF_ENABLED=False,
    )
    db = SQLAlchemy(app)
    fsqla_v3.FsModels.set_db_info(db)

    class Role(db.Model, fsqla_v3.FsRoleMixin):
        pass

    class User(db.Model, fsqla_v3.FsUserMixin):
        pass

    security = Security(app, SQLAlchemyUserDatastore(db, User, Role))

    @app.get("/mine")
    @auth_required()
    def mine():
        return "mine"

    with app.app_context():
        db.create_all()
        security.datastore.create_user(email="ada@example.org", password="sesame")
        db.session.commit()

    client = app.test_client()
    assert client.get("/mine", headers={"Accept": "application/json"}).status_code == 401
    who = {"email": "ada@example.org", "password": "sesame"}
    assert client.post("/login", json=who).status_code == 200
    assert client.get("/mine").text == "mine"
    with app.app_context():
        db.engine.dispose()
