"""Convert an OpenAPI document to a Postman collection; both are Python dicts.

The collection has one folder per tag, and one request for each media type in which a body can be
sent. Each request has a test that the response has one of the document's success statuses, so that
newman can check a server with the collection. Source: Postman Collection Format v2.1.0
"""

from __future__ import annotations

import json
import re
import typing as t

from carboy.contract.media import JSON, MULTIPART, URLENCODED
from carboy.contract.values.registry import kind_of_media_type

from .samples import follow, form_texts, parameter_texts, sample

Dict: t.TypeAlias = dict[str, t.Any]

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_METHODS = ("get", "post", "put", "patch", "delete", "trace")
# Matches media types for which no request is generated: of images PNG is enough, and people cannot
# edit binary formats or need TSV beside CSV.
_LEFT_OUT = re.compile(
    r"image/(?!png)|application/(msgpack|vnd\.apache\.)|text/tab-separated-values"
)
# The longest JSON body of a generated request, in characters. If it would be longer, as for a large
# tensor, only requests with the other media types are generated.
_MAX_JSON_CHARS = 100_000
# The syntax by which a collection refers to a variable of Postman. Secrets are variables, whose
# values the user enters in Postman.
_VARIABLE = "{{%s}}"


class GeneratedCollection(t.NamedTuple):
    """A Postman collection, and the files that its requests upload. The keys are the paths of the
    files, relative to the collection.
    """

    collection: Dict
    files: dict[str, bytes]


def build_collection(document: Dict, *, base_url: str, folder: str = "") -> GeneratedCollection:
    """Build the Postman collection for a document.

    Args:
        document: an OpenAPI 3.1 document.
        base_url: the initial value of the variable `baseUrl`.
        folder: the folder of files to upload, relative to the collection.
    """
    return CollectionBuilder(document, folder).build(base_url)


class CollectionBuilder:
    def __init__(self, document: Dict, folder: str) -> None:
        self.document = document
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.variables: dict[str, str] = {}

    def build(self, base_url: str) -> GeneratedCollection:
        info = self.document["info"]
        folders: dict[str, list[Dict]] = {}
        for path, item in self.document["paths"].items():
            shared = item.get("parameters", [])
            for method in _METHODS:
                if method in item:
                    operation = item[method]
                    tag = (operation.get("tags") or [""])[0]
                    folders.setdefault(tag, []).extend(
                        self._requests(path, method, operation, shared)
                    )
        for requests in folders.values():
            # DELETE requests come last: requests run in this order, and others may need the object
            # that one deletes.
            requests.sort(key=lambda one: one["request"]["method"] == "DELETE")
        items = [
            {"name": tag, **self._about(tag), "item": requests}
            for tag, requests in folders.items()
            if tag
        ]
        collection: Dict = {
            "info": {
                "name": info["title"],
                "description": info.get("description", ""),
                "version": info["version"],
                "schema": SCHEMA,
            },
            "item": [*items, *folders.get("", [])],
            "variable": [
                {"key": "baseUrl", "value": base_url.rstrip("/"), "type": "string"},
                *({"key": key, "value": value} for key, value in self.variables.items()),
            ],
        }
        return GeneratedCollection(collection, self.files)

    def _about(self, tag: str) -> Dict:
        for one in self.document.get("tags", ()):
            if one["name"] == tag and one.get("description"):
                return {"description": one["description"]}
        return {}

    # --- requests ------------------------------------------------------------------------------

    def _requests(self, path: str, method: str, operation: Dict, shared: list[Dict]) -> list[Dict]:
        parameters = [self._follow(p) for p in [*shared, *operation.get("parameters", ())]]
        body = self._follow(operation.get("requestBody") or {})
        kinds = [kind for kind in body.get("content", {}) if not _LEFT_OUT.match(kind)]
        name = operation.get("summary") or f"{method.upper()} {path}"
        made = []
        for kind in kinds or [None]:
            label = name if len(kinds) < 2 else f"{name} ({kind})"
            request: Dict = {
                "method": method.upper(),
                "header": self._headers(parameters, operation, kind),
                "url": self._url(path, parameters),
            }
            if operation.get("description"):
                request["description"] = operation["description"]
            auth = self._auth(operation)
            if auth is not None:
                request["auth"] = auth
            if kind is not None:
                stem = operation.get("operationId", method)
                request["body"] = self._body(kind, body["content"], stem)
                if len(request["body"].get("raw", "")) > _MAX_JSON_CHARS and len(kinds) > 1:
                    continue
            made.append({"name": label, "event": [_test(operation)], "request": request})
        return made

    def _url(self, path: str, parameters: list[Dict]) -> Dict:
        segments = [
            re.sub(r"^\{(\w+)\}$", r":\1", segment) for segment in path.lstrip("/").split("/")
        ]
        inside = {p["name"]: self._text(p) for p in parameters if p["in"] == "path"}
        # A variable that is only part of a segment, as in `/v{number}`, is replaced by a sample
        # value, because Postman has path variables only for whole segments.
        segments = [
            segment
            if segment.startswith(":")
            else re.sub(r"\{(\w+)\}", lambda found: inside.get(found[1], ""), segment)
            for segment in segments
        ]
        url: Dict = {
            "raw": "{{baseUrl}}/" + "/".join(segments),
            "host": ["{{baseUrl}}"],
            "path": segments,
        }
        variables = [
            {"key": name, "value": value}
            for name, value in inside.items()
            if f":{name}" in segments
        ]
        if variables:
            url["variable"] = variables
        query = [pair for p in parameters if p["in"] == "query" for pair in self._pairs(p)]
        if query:
            url["query"] = query
            sent = "&".join(f"{q['key']}={q['value']}" for q in query if not q["disabled"])
            url["raw"] += f"?{sent}" if sent else ""
        return url

    def _pairs(self, parameter: Dict) -> list[Dict]:
        """Return Postman's entries for a parameter: for a list in the query one entry per item,
        otherwise a single entry.
        """
        about = {
            "disabled": not parameter.get("required", False),
            **({"description": text} if (text := parameter.get("description")) else {}),
        }
        return [
            {"key": parameter["name"], "value": text, **about} for text in self._texts(parameter)
        ]

    def _headers(self, parameters: list[Dict], operation: Dict, kind: str | None) -> list[Dict]:
        headers = [pair for p in parameters if p["in"] == "header" for pair in self._pairs(p)]
        cookies = [p for p in parameters if p["in"] == "cookie" and p.get("required")]
        if cookies:
            pairs = "; ".join(f"{p['name']}={self._text(p)}" for p in cookies)
            headers.append({"key": "Cookie", "value": pairs})
        # The Content-Type of a multipart form is left out, because Postman adds it with the
        # boundary.
        if kind is not None and kind != MULTIPART:
            headers.append({"key": "Content-Type", "value": kind})
        wanted = [
            media
            for status, response in operation.get("responses", {}).items()
            if status.startswith("2")
            for media in self._follow(response).get("content", {})
        ]
        if wanted:
            headers.append({"key": "Accept", "value": wanted[0]})
        return headers

    # --- bodies --------------------------------------------------------------------------------

    def _body(self, kind: str, content: Dict, stem: str) -> Dict:
        media = content[kind]
        schema = media.get("schema", {})
        if kind in {MULTIPART, URLENCODED}:
            return self._form(kind, content, stem)
        if kind.endswith("json"):
            text = json.dumps(self._value(media), ensure_ascii=False, indent=2)
            return {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}
        if kind.startswith("text/"):
            sampled = self._sample(kind, content, schema)
            written = str(self._value(media)) if sampled is None else sampled.decode()
            return {"mode": "raw", "raw": written}
        if schema.get("format") == "binary" or not schema:
            return {"mode": "file", "file": {"src": self._file(stem, kind, content, schema)}}
        return {"mode": "raw", "raw": str(self._value(media))}

    def _form(self, kind: str, content: Dict, stem: str) -> Dict:
        media = content[kind]
        schema = self._follow(media.get("schema", {}))
        values = self._value(media)
        required = schema.get("required", ())
        fields: list[Dict] = []
        for name, sub in schema.get("properties", {}).items():
            spec = self._follow(sub)
            inner = self._follow(spec.get("items", {})) if spec.get("type") == "array" else spec
            if kind == MULTIPART and inner.get("format") == "binary":
                kinds = media.get("encoding", {}).get(name, {}).get("contentType", "image/png")
                first = kinds.partition(",")[0]
                src = self._file(f"{stem}-{name}", first, content, inner, name)
                sent: list[Dict] = [{"type": "file", "src": src}]
            else:
                value = values.get(name) if isinstance(values, dict) else None
                sent = [{"type": "text", "value": text} for text in form_texts(value)]
            for field in sent:
                if name not in required:
                    field["disabled"] = field["type"] == "text"
                fields.append({"key": name, **field})
        # In Postman, optional fields of the form are disabled. But if all fields are optional,
        # enable them, because the form would be empty.
        if all(field.get("disabled") for field in fields):
            for field in fields:
                del field["disabled"]
        mode = "formdata" if kind == MULTIPART else "urlencoded"
        return {"mode": mode, mode: fields}

    def _file(
        self, stem: str, media_type: str, content: Dict, schema: Dict, name: str | None = None
    ) -> str:
        kind = kind_of_media_type(media_type)
        data = self._sample(media_type, content, schema, name) or b"bytes"
        # Adapt the length of the file. The data was generated for base64 text in JSON, whose length
        # is limited in characters; the length of a file is limited in bytes.
        data = data.ljust(schema.get("minLength", 0), b".")[: schema.get("maxLength")]
        file = f"{stem}.{'bin' if kind is None else kind.suffix(media_type)}"
        path = f"{self.folder}/{file}" if self.folder else file
        self.files[path] = data
        return path

    def _sample(
        self, media_type: str, content: Dict, schema: Dict, name: str | None = None
    ) -> bytes | None:
        """Return a sample file of a media type, with the same data as the sample in JSON.

        Returns None if no file of this media type can be generated.
        """
        kind = kind_of_media_type(media_type)
        if kind is None or not kind.is_file:
            return None
        media = content.get(JSON, {})
        inside, value = self._follow(media.get("schema", {})), media.get("example")
        if name in inside.get("properties", {}) and not kind.describes(inside):
            inside = self._follow(inside["properties"][name])
            value = value.get(name) if isinstance(value, dict) else None
        # In the schema of the JSON body, find the part that describes the file's value: an
        # alternative of a union, or the property for a parameter.
        for each in (*inside.get("anyOf", ()), *inside.get("properties", {}).values()):
            if kind.describes(each) and not kind.describes(inside):
                inside, value = each, None
        if not kind.describes(inside):
            inside, value = schema, None
        if value is None and kind.describes(inside):
            value = sample(inside, self.document)
        return kind.sample_file(media_type, value, inside)

    def _value(self, media: Dict) -> t.Any:
        if "example" in media:
            return media["example"]
        for one in (media.get("examples") or {}).values():
            return self._follow(one).get("value")
        return sample(media.get("schema", {}), self.document)

    # --- security, references, tests -----------------------------------------------------------

    def _auth(self, operation: Dict) -> Dict | None:
        """Return Postman's settings for the first security scheme of an operation that Postman
        supports.
        """
        required = operation.get("security", self.document.get("security"))
        if required is None:
            return None
        schemes = self.document.get("components", {}).get("securitySchemes", {})
        for alternative in required:
            for name in alternative:
                auth = self._scheme(name, schemes.get(name, {}))
                if auth is not None:
                    return auth
        return {"type": "noauth"} if not required else None

    def _scheme(self, name: str, scheme: Dict) -> Dict | None:
        kind, how = scheme.get("type"), str(scheme.get("scheme", "")).lower()
        if kind == "apiKey" and scheme.get("in") in {"header", "query"}:
            self.variables.setdefault(name, "")
            pairs = [
                {"key": "key", "value": scheme["name"]},
                {"key": "value", "value": _VARIABLE % name},
                {"key": "in", "value": scheme["in"]},
            ]
            return {"type": "apikey", "apikey": pairs}
        if kind == "http" and how == "basic":
            keys = (f"{name}_username", f"{name}_password")
            self.variables.update(dict.fromkeys(keys, ""))
            words = zip(("username", "password"), keys, strict=True)
            return {
                "type": "basic",
                "basic": [{"key": word, "value": _VARIABLE % key} for word, key in words],
            }
        if (kind == "http" and how == "bearer") or kind in {"oauth2", "openIdConnect"}:
            self.variables.setdefault(name, "")
            return {"type": "bearer", "bearer": [{"key": "token", "value": _VARIABLE % name}]}
        return None

    def _text(self, parameter: Dict) -> str:
        return ",".join(self._texts(parameter))

    def _texts(self, parameter: Dict) -> list[str]:
        value = (
            parameter["example"]
            if "example" in parameter
            else sample(parameter.get("schema", {}), self.document)
        )
        return parameter_texts(parameter, value)

    def _follow(self, node: t.Any) -> Dict:
        """Return `node`, or what it refers to if it is a `$ref`; {} if it is no dict (a schema may
        be `true`).
        """
        if not isinstance(node, dict):
            return {}
        return follow(node["$ref"], self.document) if "$ref" in node else node


def _test(operation: Dict) -> Dict:
    """Return a test in JavaScript that Postman runs after the response: the status must be a
    success.
    """
    good = sorted(int(s) for s in operation.get("responses", {}) if s.isdigit() and int(s) < 400)
    check = (
        f"pm.expect(pm.response.code).to.be.oneOf({good});"
        if good
        else "pm.expect(pm.response.code).to.be.below(400);"
    )
    lines = [f"pm.test({json.dumps('the response is a success')}, () => {{", f"  {check}", "});"]
    return {"listen": "test", "script": {"type": "text/javascript", "exec": lines}}
