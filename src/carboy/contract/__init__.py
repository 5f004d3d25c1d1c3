"""Turn typed signatures into decoders, encoders, OpenAPI documents and test clients.

Signatures of views, and of `predict` methods of models, are read once, at registration:

    needs        whether a view uses types at all; the only module that an untyped app runs
    markers      what authors write beside a type: Query(), Header(), ...; and the decorator @raises
    hints        reads a function's annotations and examines types
    values       types that JSON cannot express (images, ...), one module each, and their registry
    kinds        classifies the types of parameters: scalar, record, file, ...
    signature    a function -> an `Operation`; `operationbuilder` sorts the parameters of a view
    operation    `Operation`: parameters, body, return type and errors, as data
    annotationchecks   refuses annotations without effect; `typeadvice` says what to write instead
    media        the media types

The other modules use the `Operation`:

    bodies, forms      body -> arguments, without WSGI and without Werkzeug
    bodyparameters     compiles one parameter of a body
    parameters         query, headers, cookies and body of a request -> arguments
    answers            return value -> bytes, in the media type that module `negotiation` chooses
    framing            items of a stream -> JSON lines or server-sent events
    inputerrors        exceptions of decoders -> `InputError`: path, expected and actual value;
                       `core.problemdetails` makes HTTP errors of them
    valuecounts        bounds the number of values in a body
    records            fields of records, and the values inside of them
    fieldtexts         rewrites texts of fields for msgspec; `rereading` does that for JSON
    pydanticlimits     limits that pydantic checks
    answercheck        whether a return value fits its declared type
    packedvalues       values for another process
    exactvalues        the values of exceptions for another process; `rebuilding` makes records
    hooks              how msgspec reads and writes classes that it does not know
    schemas            types -> JSON Schema; `declared` adds what msgspec leaves out
    docstrings         the texts of Google's style, for documents
    client             arguments -> request, response -> value, for tests
    binding            an operation -> the function in `app.view_functions`
    responses          return value -> response

msgspec is imported with the first typed view, Pillow with the first image.
"""

from __future__ import annotations
