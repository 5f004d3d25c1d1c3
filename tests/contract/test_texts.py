"""Compare the fast parser of query strings with Werkzeug's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy import Carboy
from carboy.contract.parameters import all_values, first_values

app = Carboy("texts")
QUERIES = st.text(alphabet="ab=&%+;20C3ä", max_size=20) | st.text(max_size=12)


@given(QUERIES)
@pytest.mark.filterwarnings("ignore")
def test_query_is_parsed_as_by_werkzeug(query):
    # A server decodes the bytes of the query as latin-1 (PEP 3333).
    with app.test_request_context(
        "/", environ_overrides={"QUERY_STRING": query.encode().decode("latin-1")}
    ) as ctx:
        expected = ctx.request.args
        assert dict(all_values(ctx)) == expected.to_dict(flat=False)
        assert {key: first_values(ctx)[key] for key in first_values(ctx)} == expected.to_dict()
