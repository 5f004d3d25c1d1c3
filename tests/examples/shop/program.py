import flask

print(flask.Flask.__module__)
