"""A shop whose page says what its database has."""

import os

from flask import Flask, Response, jsonify
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

database = SQLAlchemy()


def create_app() -> Flask:
    """Return what Gunicorn serves."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SQLALCHEMY_DATABASE_URI"]
    database.init_app(app)
    Migrate(app, database)

    @app.get("/health")
    def health() -> Response:
        user, goods = database.session.execute(
            text("SELECT current_user, count(*) FROM goods")
        ).one()
        return jsonify({"user": user, "goods": goods})

    return app
