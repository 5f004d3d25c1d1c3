"""A typed signature becomes a reader, a writer, a refusal, a document and a test client.

Read once, at registration, for views and for the `predict` of models:

    needs        does a view have types at all? The only module that an untyped app runs
    markers      what an author writes beside a type: Query(), Header(), ..., @raises
    hints        annotations, read from a function and taken apart
    values       kinds of value that JSON lacks, one module each, and their registry
    kinds        what a type asks for: text of a query, a record, a file, ...
    signature    a function -> operation
    operation    what it takes and gives, as data

From an operation are made:

    bodies, forms      body -> arguments; they know neither WSGI nor Werkzeug
    bodyparameters     one parameter of a body, compiled
    parameters         query, headers, cookies, and the body of a request -> arguments
    answers            value -> bytes, in the form that `negotiation` chooses
    framing            items of a stream -> JSON lines, server-sent events
    inputerrors        exceptions of decoders -> `InputError` with path, expected and got;
                       `core.problemdetails` makes HTTP errors of them
    hooks              what msgspec asks about classes that it does not know
    schemas            types -> JSON Schema
    client             arguments -> request, response -> value: for tests
    binding            all of it -> the function in `app.view_functions`
    responses          what a view returned -> a response

msgspec comes with the first typed view, Pillow with the first picture.
"""

from __future__ import annotations
