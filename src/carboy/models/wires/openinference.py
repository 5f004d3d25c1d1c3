"""Predictions by the Open Inference Protocol V2 over HTTP, which Triton, KServe and Seldon speak.

    POST /v2/models/NAME/infer                                            application/json
    {"id": "a", "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}

    {"model_name": "NAME", "model_version": "1", "id": "a",
     "outputs": [{"name": "output", "shape": [1], "datatype": "FP64", "data": [3.0]}]}

Tensors may follow the JSON as binary data: the header `Inference-Header-Content-Length` has the
length of the JSON, and the parameter `binary_data_size` of an input that of its tensor. If the
header is 0, the whole body is the tensor of the only input. Errors are `{"error": "..."}`.

Triton's extensions for shared memory, sequences and classification are refused by an error that
names them. `openinferencepages` has the other URLs of the protocol, `tensorsignature` the tensors
of a model.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol
"""

from __future__ import annotations

import dataclasses
import math
import typing as t
import weakref

import msgspec

from carboy.contract import inputerrors
from carboy.contract.answers import Encoded, encode
from carboy.contract.media import JSON
from carboy.contract.valuecounts import check_json
from carboy.core.nosniff import NOSNIFF
from carboy.errors import InputError, MalformedInputError

from ..view import add_protocol
from .datatypes import BYTES, DTYPES, check_shape, from_binary, from_json, to_binary, to_json
from .shared import ProtocolWithoutStreams
from .tensorsignature import TensorSignature

if t.TYPE_CHECKING:
    from ..host import ModelApp
    from ..model import Model
    from ..protocol import PredictionRequest
    from ..queue.calls import Arguments
    from ..versions.modelversion import ModelVersion
    from .tensorsignature import TensorSpec

NAME = "v2"
_LENGTH_HEADER = "Inference-Header-Content-Length"
_BINARY_TYPE = "application/octet-stream"
_SIZE, _BINARY, _BINARY_OUTPUT = "binary_data_size", "binary_data", "binary_data_output"
# Clients for MLServer say in `content_type` what a tensor, or all inputs together, contain:
# numbers, texts, columns of a table. They are read as what the model takes anyway.
_CONTENT_TYPE, _CONTENT_TYPES = "content_type", ("np", "str", "pd")


def install(app: ModelApp) -> None:
    """Serve the models of an app by the protocol."""
    from .openinferencepages import add_pages

    protocol = OpenInferenceProtocol()
    add_protocol(app, protocol)
    add_pages(app, protocol)


def version_of(model: Model, version: ModelVersion | None = None) -> str:
    """Return what a version of a model is called in URLs and responses; by default the current
    one.
    """
    if version is not None and version.name:
        return version.name
    return "1" if model.version is None else str(model.version)


# Clients write members that they do not set as null.
class InferInput(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, t.Any] | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def has_data(self) -> bool:
        return self.data is not msgspec.UNSET and self.data != _NULL


class InferOutput(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, t.Any] | None = None


class InferRequest(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[InferInput]
    id: str | None = None
    parameters: dict[str, t.Any] | None = None
    outputs: list[InferOutput] | None = None


_NULL: t.Final = msgspec.Raw(b"null")
_decode_request = msgspec.json.Decoder(InferRequest).decode


@dataclasses.dataclass(slots=True)
class Wanted:
    """The form of the response that a request asks for.

    Attributes:
        id: the client's name of the request; empty if it has none.
        outputs: for each output, whether it is sent as binary data; None for all outputs.
        binary: whether outputs are sent as binary data if `outputs` is None.
    """

    id: str
    outputs: dict[str, bool] | None
    binary: bool


class OpenInferenceProtocol(ProtocolWithoutStreams):
    """Serves each model whose result is no stream."""

    name = NAME

    def __init__(self) -> None:
        self._signatures: weakref.WeakKeyDictionary[Model, TensorSignature] = (
            weakref.WeakKeyDictionary()
        )

    def path(self, model: Model) -> str | None:
        return None if model.answers.streams else f"/v2/models/{model.name}/infer"

    def signature(self, model: Model) -> TensorSignature:
        """Return the inputs and outputs of a model."""
        found = self._signatures.get(model)
        if found is None:
            found = self._signatures[model] = TensorSignature(model)
        return found

    def decode(self, model: Model, request: PredictionRequest) -> Arguments | list[Arguments]:
        signature = self.signature(model)
        body = memoryview(self.body(model, request))
        length = _header_length(request.header(_LENGTH_HEADER), len(body))
        if length == 0:
            request.state = Wanted("", None, binary=True)
            return signature.arguments(_raw_tensor(signature, body), len(body))
        asked = _read_json(bytes(body[:length]))
        request.state = _wanted(asked, signature)
        return signature.arguments(_tensors(asked.inputs, body[length:]), len(body))

    def encode(self, model: Model, request: PredictionRequest, result: t.Any) -> Encoded:
        signature, wanted = self.signature(model), t.cast("Wanted", request.state)
        tensors = signature.tensors(result)
        sent = wanted.outputs or dict.fromkeys(tensors, wanted.binary)
        for name in sent.keys() - tensors.keys():
            raise InputError.at("$.outputs", expected="outputs that the result has", got=repr(name))
        specs = {spec.name: spec for spec in signature.outputs}
        outputs, binaries = [], []
        for name, is_binary in sent.items():
            tensor, spec = tensors[name], specs[name]
            output: dict[str, t.Any] = {
                "name": name,
                "shape": list(tensor.shape),
                "datatype": spec.datatype,
            }
            if is_binary:
                binaries.append(to_binary(tensor))
                output["parameters"] = {_SIZE: len(binaries[-1])}
            else:
                output["data"] = to_json(tensor, in_base64=spec.sort == "file")
            outputs.append(output)
        head = {"model_name": model.name, "model_version": request.version or version_of(model)}
        body = encode({**head, **({"id": wanted.id} if wanted.id else {}), "outputs": outputs})
        if not binaries:
            return Encoded(body, JSON)
        headers = ((_LENGTH_HEADER, str(len(body))), NOSNIFF)
        return Encoded(b"".join((body, *binaries)), _BINARY_TYPE, headers)


# --- the body ------------------------------------------------------------------------------------


def _header_length(text: str, body_bytes: int) -> int:
    """Return the length of the JSON at the beginning of the body."""
    if not text:
        return body_bytes or -1  # an empty body is no valid JSON, and no raw tensor either
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= body_bytes):
        raise MalformedInputError(
            f"{_LENGTH_HEADER}: expected the length of the JSON, at most the {body_bytes:,} bytes"
            f" of the body, got {text[:40]!r}."
        )
    return int(text)


def _read_json(data: bytes) -> InferRequest:
    check_json(data)
    try:
        return _decode_request(data)
    except msgspec.ValidationError as exc:
        raise inputerrors.mismatch_in_json(exc, data, root="$", kind=InferRequest) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise inputerrors.malformed(data, exc) from exc


def _tensors(inputs: list[InferInput], binary: memoryview) -> dict[str, t.Any]:
    """Return the tensors of a request by name. `binary` is what follows the JSON."""
    found: dict[str, t.Any] = {}
    at = 0
    for i, each in enumerate(inputs):
        path = f"$.inputs[{i}]"
        if each.name in found:
            raise InputError.at(path, expected="another name", got=f"{each.name!r} once more")
        shape = check_shape(each.shape, f"{path}.shape")
        size = _binary_size(each, path)
        if size is None:
            data = t.cast("msgspec.Raw", each.data)
            found[each.name] = from_json(bytes(data), each.datatype, shape, f"{path}.data")
            continue
        part = binary[at : at + size]
        at += size
        if len(part) != size:
            raise InputError.at(
                f"{path}.parameters.{_SIZE}",
                expected=f"at most the {len(part):,} bytes that remain of the body",
                got=f"{size:,}",
            )
        found[each.name] = from_binary(part, each.datatype, shape, path)
    if at != len(binary):
        raise MalformedInputError(
            f"The body has {len(binary):,} bytes after the JSON, but the inputs' {_SIZE} are"
            f" {at:,} together."
        )
    return found


def _binary_size(given: InferInput, path: str) -> int | None:
    """Return the size of an input's binary data; None if its data is JSON."""
    size = _parameter(given.parameters, _SIZE, f"{path}.parameters")
    if (size is None) != given.has_data:
        both = "both" if size is not None else "neither"
        raise InputError.at(path, expected=f"either `data` or the parameter {_SIZE}", got=both)
    if size is not None and (type(size) is not int or size < 0):
        raise InputError.at(f"{path}.parameters.{_SIZE}", expected="bytes", got=repr(size)[:40])
    return size


def _raw_tensor(signature: TensorSignature, body: memoryview) -> dict[str, t.Any]:
    """Return the tensor of a body that consists of nothing else."""
    spec = signature.sole_input()
    if spec is None:
        raise InputError(
            f"{_LENGTH_HEADER} is 0, so the body is one tensor, but the model has other than one"
            " input. Send the names of the inputs in JSON."
        )
    first = (1,) if signature.batched else ()
    if spec.datatype == BYTES:
        return {spec.name: _one_element(bytes(body), (*first, 1))}
    shape = _raw_shape(spec, len(body))
    return {spec.name: from_binary(body, spec.datatype, (*first, *shape), f"$.{spec.name}")}


def _one_element(data: bytes, shape: tuple[int, ...]) -> t.Any:
    import numpy as np

    tensor = np.empty(shape, object)
    tensor.reshape(-1)[0] = data
    return tensor


def _raw_shape(spec: TensorSpec, size_bytes: int) -> tuple[int, ...]:
    """Return the shape of a tensor of which only the number of bytes is known."""
    import numpy as np

    if spec.sides.count(-1) > 1:
        raise InputError(
            f"{_LENGTH_HEADER} is 0, so the body is one tensor, but its shape {list(spec.sides)}"
            " has several sides of any size. Send the shape in JSON."
        )
    known = math.prod(side for side in spec.sides if side != -1)
    rest = size_bytes // max(1, known * np.dtype(DTYPES[spec.datatype]).itemsize)
    return tuple(rest if side == -1 else side for side in spec.sides)


# --- the response --------------------------------------------------------------------------------


def _wanted(asked: InferRequest, signature: TensorSignature) -> Wanted:
    """Check what a request says about its response."""
    binary = _flag(asked.parameters, _BINARY_OUTPUT, "$.parameters", default=False)
    request_id = asked.id or ""
    if not asked.outputs:
        return Wanted(request_id, None, binary)
    names = [spec.name for spec in signature.outputs]
    outputs = {}
    for i, each in enumerate(asked.outputs):
        path = f"$.outputs[{i}]"
        if each.name not in names:
            raise InputError.at(
                f"{path}.name",
                expected=f"one of {', '.join(map(repr, names))}",
                got=repr(each.name),
            )
        outputs[each.name] = _flag(each.parameters, _BINARY, f"{path}.parameters", default=binary)
    return Wanted(request_id, outputs, binary)


def _flag(parameters: dict[str, t.Any] | None, name: str, path: str, *, default: bool) -> bool:
    value = _parameter(parameters, name, path)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise InputError.at(f"{path}.{name}", expected="true or false", got=repr(value)[:40])
    return value


def _parameter(parameters: dict[str, t.Any] | None, known: str, path: str) -> t.Any:
    """Return the value of the only parameter that is supported at a place; None if it is not
    given.
    """
    for name, value in (parameters or {}).items():
        if name == _CONTENT_TYPE and value is not None and value not in _CONTENT_TYPES:
            raise InputError.at(
                f"{path}.{name}",
                expected=f"one of {', '.join(_CONTENT_TYPES)}",
                got=repr(value)[:40],
            )
        if value is not None and name not in (known, _CONTENT_TYPE):
            raise _unsupported(path, name, value, known)
    return (parameters or {}).get(known)


def _unsupported(path: str, name: str, value: t.Any, known: str) -> InputError:
    return InputError.at(
        path,
        expected=f"no other parameter than {known}",
        got=f"{name} = {value!r}"[:80],
        hint="This server has none of Triton's extensions for shared memory, sequences, priorities,"
        " timeouts and classification.",
    )
