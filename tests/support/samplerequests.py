"""Ask an app by the samples of its OpenAPI document, and compare each answer with its schema.

`python samplerequests.py app.py [header value]` asks an example by its Postman collection, and
writes a line for each answer that is not as documented.
"""

from __future__ import annotations

import importlib
import io
import json
import pathlib
import re
import sys
import typing as t
from urllib.parse import urlencode

from jsonschema import Draft202012Validator

from carboy.openapi.postman import GeneratedCollection, build_collection
from carboy.openapi.samples import form_texts, parameter_texts, sample

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.testing import FlaskClient

Document: t.TypeAlias = dict[str, t.Any]
METHODS = ("get", "post", "put", "patch", "delete")
JSON = "application/json"


class SampleRequest(t.NamedTuple):
    """One request, in the words of Werkzeug's test client, and the operation that it is for."""

    name: str
    operation: Document
    #: Arguments of `client.open`.
    sent: dict[str, t.Any]

    def ask(self, client: FlaskClient) -> t.Any:
        sent = dict(self.sent)
        if isinstance(sent.get("data"), dict):
            # Werkzeug reads and closes the streams, and a request may be asked again.
            sent["data"] = {name: [_opened(v) for v in vs] for name, vs in sent["data"].items()}
        return client.open(**sent)


def _opened(value: t.Any) -> t.Any:
    return (io.BytesIO(value[0]), value[1]) if isinstance(value, tuple) else value


# --- requests from the document ------------------------------------------------------------------


def of_document(document: Document) -> cabc.Iterator[SampleRequest]:
    """Return a request with a JSON body, and one with a form, for each operation that takes them.

    Each sends all parameters, also those that are not required.
    """
    for path, item in document["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            sent = _parameters(path, operation, document) | {"method": method.upper()}
            kinds = operation.get("requestBody", {}).get("content", {None: {}})
            for kind in kinds:
                if kind not in {None, JSON, *_FORMS} or "binary" in str(kinds[kind]):
                    continue  # a file, which a Postman collection brings with it
                body = {} if kind is None else _body(kind, kinds[kind], document)
                yield SampleRequest(f"{method} {path} {kind or ''}", operation, {**sent, **body})


_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def _parameters(path: str, operation: Document, document: Document) -> dict[str, t.Any]:
    query: list[tuple[str, str]] = []
    headers: list[tuple[str, str]] = []
    for parameter in operation.get("parameters", ()):
        value = parameter.get("example", sample(parameter["schema"], document))
        texts = parameter_texts(parameter, value)
        name, place = parameter["name"], parameter["in"]
        if place == "path":
            path = path.replace(f"{{{name}}}", texts[0])
        elif place == "query":
            query += [(name, text) for text in texts]
        elif place == "header":
            headers.append((name, texts[0]))
        else:
            headers.append(("Cookie", f"{name}={texts[0]}"))
    # A query string and not a dict, which would lose repeated keys.
    return {"path": path, "query_string": urlencode(query), "headers": headers}


def _body(kind: str, media: Document, document: Document) -> dict[str, t.Any]:
    value = media.get("example", sample(media["schema"], document))
    if kind == JSON:
        return {"data": json.dumps(value), "content_type": JSON}
    fields = {name: list(form_texts(each)) for name, each in value.items() if each is not None}
    return {"data": fields, "content_type": kind}


# --- requests from a Postman collection ----------------------------------------------------------


def of_collection(made: GeneratedCollection, document: Document) -> cabc.Iterator[SampleRequest]:
    """Return all requests of a collection, as Postman would send them."""
    for item in _items(made.collection["item"]):
        request = item["request"]
        url = request["url"]
        template = "/" + "/".join(re.sub(r"^:(\w+)$", r"{\1}", each) for each in url["path"])
        operation = document["paths"][template][request["method"].lower()]
        path = template
        for variable in url.get("variable", ()):
            path = path.replace(f"{{{variable['key']}}}", variable["value"])
        query = [(q["key"], q["value"]) for q in url.get("query", ()) if not q["disabled"]]
        headers = [(h["key"], h["value"]) for h in request["header"] if not h.get("disabled")]
        sent = {
            "method": request["method"],
            "path": path,
            "query_string": urlencode(query),
            "headers": headers,
            **_postman_body(request.get("body"), made.files),
        }
        yield SampleRequest(item["name"], operation, sent)


def _items(items: list[Document]) -> cabc.Iterator[Document]:
    for item in items:
        if "item" in item:
            yield from _items(item["item"])
        else:
            yield item


def _postman_body(body: Document | None, files: dict[str, bytes]) -> dict[str, t.Any]:
    if body is None:
        return {}
    if body["mode"] == "raw":
        return {"data": body["raw"]}
    if body["mode"] == "file":
        return {"data": files[body["file"]["src"]]}
    fields: dict[str, list[t.Any]] = {}
    for field in body[body["mode"]]:
        if not field.get("disabled"):
            is_file = field["type"] == "file"
            value = (files[field["src"]], field["src"]) if is_file else field["value"]
            fields.setdefault(field["key"], []).append(value)
    kind = _FORMS[body["mode"] == "formdata"]
    return {"data": fields, "content_type": kind}


# --- answers -------------------------------------------------------------------------------------


def faults_of(answer: t.Any, operation: Document, document: Document) -> list[str]:
    """Return what in an answer the document does not say; [] for a documented success."""
    responses = operation["responses"]
    status = str(answer.status_code)
    described = responses.get(status, responses.get("default"))
    if described is None or answer.status_code >= 400:
        return [f"{answer.status} {answer.get_data(as_text=True)[:300]}"]
    content = described.get("content", {})
    if not content:  # what is answered is not documented
        return []
    if answer.mimetype not in content:
        return [f"{answer.mimetype} instead of {', '.join(content)}"]
    schema = content[answer.mimetype].get("schema", {})
    item = schema.get("contentSchema")
    if item is not None:
        return [
            fault
            for line in answer.get_data(as_text=True).splitlines()
            if line.strip()
            for fault in schema_faults(json.loads(line), item, document)
        ]
    is_json = answer.mimetype == JSON
    if not is_json and schema.get("format") == "binary":
        return []
    value = answer.get_json() if is_json else answer.get_data(as_text=True)
    return schema_faults(value, schema, document)


def schema_faults(value: t.Any, schema: t.Any, document: Document) -> list[str]:
    """Return what a JSON Schema with references into the document says against a value."""
    validator = Draft202012Validator(
        {**schema, "components": document.get("components", {})},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
    return [f"{each.json_path}: {each.message[:200]}" for each in validator.iter_errors(value)]


def examples_of(node: t.Any) -> cabc.Iterator[tuple[Document, t.Any]]:
    """Return each schema of a document that has examples or a default, with each of them."""
    if isinstance(node, dict):
        if isinstance(node.get("examples"), list):
            yield from ((node, each) for each in node["examples"])
        for key in ("example", "default"):
            if key in node and ("type" in node or "anyOf" in node or "$ref" in node):
                yield node, node[key]
        for each in node.values():
            yield from examples_of(each)
    elif isinstance(node, list):
        for each in node:
            yield from examples_of(each)


# --- an example ----------------------------------------------------------------------------------


def main(path: str, *header: str) -> None:
    sys.path.insert(0, str(pathlib.Path(path).parent))
    app = importlib.import_module(pathlib.Path(path).stem).app
    document, client = app.openapi(), app.test_client(use_cookies=False)
    asked = 0
    for each in of_collection(build_collection(document, base_url="http://localhost"), document):
        each.sent["headers"] += [header] if header else []
        asked += 1
        for fault in faults_of(each.ask(client), each.operation, document):
            print(f"{each.sent['method']} {each.sent['path']}: {fault}")
    print(f"asked: {asked > 0}")


if __name__ == "__main__":
    main(*sys.argv[1:])
