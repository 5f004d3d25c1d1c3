"""Each operation of a zoo of types accepts its own samples, and answers as it is documented."""

from __future__ import annotations

import openapi_spec_validator
import pytest
from samplerequests import examples_of, faults_of, of_collection, of_document, schema_faults
from zoo import make_app

from carboy.openapi.postman import build_collection

APP = make_app()
DOCUMENT = APP.openapi()
COLLECTION = build_collection(DOCUMENT, base_url="http://localhost")


def test_document_of_the_zoo_is_complete_and_valid():
    assert not APP._documentation_faults
    openapi_spec_validator.validate(DOCUMENT)


def cases(requests):
    return [pytest.param(each, id=f"{each.sent['path']} {each.name}") for each in requests]


@pytest.mark.parametrize("request_", cases(of_document(DOCUMENT)))
def test_sample_of_the_document_is_accepted_and_answered_as_documented(request_):
    answer = request_.ask(APP.test_client(use_cookies=False))
    assert faults_of(answer, request_.operation, DOCUMENT) == []


@pytest.mark.parametrize("request_", cases(of_collection(COLLECTION, DOCUMENT)))
def test_request_of_the_collection_is_accepted_and_answered_as_documented(request_):
    answer = request_.ask(APP.test_client(use_cookies=False))
    assert faults_of(answer, request_.operation, DOCUMENT) == []


def test_examples_and_defaults_fit_their_schemas():
    found = {
        f"{value!r} of {schema}": faults
        for schema, value in examples_of(DOCUMENT)
        if (faults := schema_faults(value, schema, DOCUMENT))
    }
    assert found == {}
