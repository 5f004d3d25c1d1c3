"""The page in a real Chromium: each kind of input, by mouse and by keyboard."""

from __future__ import annotations

import io

import numpy as np
import pytest
from trying import DROP, PASTE, answered, draw, facts, file_of, npy, png, predict, raw

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(120)]


def test_example_is_predicted_with_one_click(visit):
    page = visit("/iris")
    predict(page)
    assert page.locator(".big").inner_text() == "versicolor"
    assert page.locator(".bars .best .name").inner_text() == "versicolor"
    assert page.locator(".bars .share").all_inner_texts() == ["2.0 %", "91.0 %", "7.0 %"]


def test_record_is_a_form_of_its_fields(visit):
    page = visit("/iris")
    assert page.get_by_label("length", exact=True).input_value() == "5.1"
    assert page.locator(".ends").first.all_inner_texts() == ["0\n10"]
    page.get_by_label("length, slider").fill("7.5")
    assert page.get_by_label("length", exact=True).input_value() == "7.5"
    page.get_by_label("petals", exact=True).fill("9")
    assert page.get_by_label("petals, slider").input_value() == "9"
    page.get_by_text("red", exact=True).click()
    page.get_by_label("soil").select_option("peat")
    page.get_by_label("watered").uncheck()
    page.get_by_label("tags").fill("one\ntwo words")
    page.get_by_label("note").fill("")
    with page.expect_request("**/iris") as sent:
        predict(page)
    assert sent.value.post_data_json == {
        "length": 7.5,
        "petals": 9,
        "weight": 1.25,
        "colour": "red",
        "garden": {"altitude": 400, "soil": "peat", "watered": False},
        "tags": ["one", "two words"],
        "fresh": False,
    }
    page.get_by_role("button", name="Example").click()
    assert page.get_by_label("length", exact=True).input_value() == "5.1"


def test_parameters_have_defaults_and_may_be_left_out(visit):
    page = visit("/echo")
    page.get_by_label("text").fill("hello\nyou")
    assert page.get_by_label("times").input_value() == "1"
    page.get_by_text("de", exact=True).click()
    predict(page)
    assert raw(page) == {
        "text": "hello\nyou",
        "times": 1,
        "language": "de",
        "strength": 0.5,
        "seed": None,
    }


def test_numbers_may_be_written_in_any_notation(visit):
    page = visit("/total")
    page.get_by_label("numbers").fill("[1, 2.5]\n3;4\t-0.5")
    assert page.locator(".state").inner_text() == "5 numbers"
    predict(page)
    assert page.locator(".big").inner_text() == "10"
    page.get_by_label("numbers").fill("1, two")
    assert "two" in page.locator(".state").inner_text()
    page.locator("#predict").click()
    assert "“two”" in page.get_by_role("alert").inner_text()


def test_json_is_checked_while_typing(visit):
    page = visit("/count")
    area = page.get_by_label("anything")
    area.fill('{"a": 1,\n "b": oops}')
    assert page.locator(".state").inner_text() == "Not JSON yet: look at line 2, column 7."
    page.locator("#predict").click()
    page.get_by_role("alert").wait_for()
    area.fill('{"a": 1, "<b>b</b>": [true, null]}')
    predict(page)
    assert page.locator("#answer td").all_inner_texts()[:4] == ["1", "a", "1", "0"]


@pytest.mark.parametrize("way", ["choose", "drop", "drop beside", "paste"])
def test_picture_can_be_chosen_dropped_and_pasted(visit, way):
    page = visit("/size")
    if way == "choose":
        chosen = {"name": "a.png", "mimeType": "image/png", "buffer": png()}
        page.locator("input[type=file]").set_input_files(chosen)
    elif way == "drop":
        page.locator(".drop").evaluate(DROP, file_of(png()))
    else:
        page.locator("h1").evaluate(PASTE if way == "paste" else DROP, file_of(png()))
    page.get_by_text("30 × 20").wait_for()
    assert page.locator(".preview").evaluate("image => image.naturalWidth") == 30
    predict(page)
    assert facts(page) == {"width": "30", "height": "20", "dark": "0"}
    page.get_by_role("button", name="Remove").click()
    assert page.locator(".preview").is_hidden()


def test_picture_can_be_drawn_undone_and_erased(visit):
    page = visit("/size")
    page.get_by_text("Draw", exact=True).click()
    page.locator("#predict").click()
    assert page.get_by_role("alert").inner_text() == "Draw something first."
    draw(page, (0.2, 0.5), (0.8, 0.5))
    predict(page)
    first = int(facts(page)["dark"])
    assert first > 1000
    page.get_by_text("Eraser", exact=True).click()
    draw(page, (0.5, 0.2), (0.5, 0.8))
    with page.expect_response("**/size"):
        page.locator("#predict").click()
    page.locator("#answer[data-state=full]").wait_for()
    assert int(facts(page)["dark"]) < first
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Clear").click()
    assert page.get_by_role("button", name="Clear").is_disabled()


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"<svg onload='alert(1)'></svg>", "a.svg"), (b"hello", "<b>a</b>.png")],
    ids=["svg", "text"],
)
def test_file_that_is_no_picture_is_not_shown_and_the_error_explained(visit, data, name):
    page = visit("/size")
    page.locator(".drop").evaluate(DROP, file_of(data, name))
    page.get_by_text("no preview").wait_for()
    assert name in page.locator(".invitation").inner_text()
    assert page.locator(".preview").get_attribute("src") is None
    predict(page, "failed")
    assert "a picture" in page.get_by_role("alert").inner_text()


def test_picture_in_a_record_is_sent_in_its_json(visit):
    page = visit("/entry")
    page.get_by_label("title").fill("mine")
    predict(page)
    assert raw(page) == {"title": "mine", "width": None}
    page.locator("h1").evaluate(PASTE, file_of(png()))
    page.get_by_text("30 × 20").wait_for()
    with page.expect_request("**/entry") as sent:
        page.locator("#predict").click()
    assert sent.value.post_data_json["photo"].startswith("data:image/png;base64,")
    page.locator("#answer dd", has_text="30").wait_for()


@pytest.mark.parametrize("note", ["", "@file; <x>", '["no JSON'], ids=["none", "text", "bracket"])
def test_picture_and_other_values_are_sent_together(visit, note):
    page = visit("/crop")
    page.locator("h1").evaluate(PASTE, file_of(png()))
    page.get_by_text("30 × 20").wait_for()
    page.get_by_label("side").fill("7")
    page.get_by_label("note").fill(note)
    page.get_by_label("weights").fill("1 2.5")
    predict(page)
    assert raw(page) == {"width": 30, "side": 7, "note": note or None, "weights": [1.0, 2.5]}


def test_union_can_be_entered_as_either_type(visit):
    page = visit("/either")
    page.get_by_text("4 numbers", exact=True).click()
    page.get_by_role("button", name="Fill with zeros").click()
    assert page.locator(".state").inner_text() == "4 of 4 numbers"
    predict(page)
    assert page.locator(".big").inner_text() == "pixels"
    assert page.locator(".bars .name").all_inner_texts() == ["no", "yes"]
    page.locator("h1").evaluate(PASTE, file_of(png()))  # pasting selects the picture
    page.get_by_text("30 × 20").wait_for()
    with page.expect_response("**/either"):
        page.locator("#predict").click()
    page.locator(".big", has_text="a picture").wait_for()


def test_table_is_pasted_from_a_spreadsheet_previewed_and_sent(visit):
    page = visit("/orders")
    page.get_by_label("rows", exact=True).fill(
        'name\tweight\tamount\n"nuts, big"\t1.5\t2\nbolts\t0.25\t100\n'
    )
    assert page.locator(".preview-grid th").all_inner_texts() == ["name", "weight", "amount"]
    assert page.locator(".drop .state").inner_text() == "2 rows, 3 columns"
    predict(page)
    assert page.locator("#answer tbody tr").all_inner_texts() == [
        "1\tnuts, big\t1.5\t2\t3",
        "2\tbolts\t0.25\t100\t25",
    ]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save CSV").click()
    assert saved.value.path().read_text() == (
        'name,weight,amount,total\n"nuts, big",1.5,2,3\nbolts,0.25,100,25\n'
    )


def test_csv_file_is_sent_under_its_name_as_it_is(visit):
    page = visit("/orders")
    call = page.locator("#snippet")
    page.locator(".drop").evaluate(DROP, file_of(b"name,weight\nnuts,2\n", "my.csv", "text/csv"))
    call.filter(has_text="rows=@my.csv").wait_for()
    predict(page)
    page.get_by_label("rows", exact=True).fill("name,weight\nnuts,3\n")
    call.filter(has_text="rows=@table.csv").wait_for()
    page.locator(".drop").evaluate(
        DROP, file_of(b"name;weight\nnuts;2,5\n", "other.csv", "text/csv")
    )
    call.filter(has_text="rows=@other.csv").wait_for()
    with page.expect_response("**/orders"):
        page.locator("#predict").click()
    answered(page)
    assert page.locator("#answer tbody tr").inner_text() == "1\tnuts\t2.5\t1\t2.5"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_pasted_cells_are_sent_as_they_are(visit, delimiter):
    page = visit("/orders")
    number = "2,5" if delimiter == ";" else "2.5"
    lines = (("name", "weight"), ("nuts", number))
    page.get_by_label("rows", exact=True).fill("\n".join(map(delimiter.join, lines)))
    predict(page)
    assert page.locator("#answer tbody tr").inner_text() == "1\tnuts\t2.5\t1\t2.5"


def test_invalid_cell_is_named_by_its_row_in_the_spreadsheet(visit):
    page = visit("/orders")
    page.get_by_label("rows", exact=True).fill("name,weight\nnuts,1.5\nbolts,heavy\n")
    predict(page, "failed")
    assert page.get_by_role("alert").inner_text().startswith("Row 2, weight: Expected")


def test_missing_column_or_uneven_rows_are_reported_before_sending(visit):
    page = visit("/orders")
    page.get_by_label("rows", exact=True).fill("name\nnuts\n")
    assert page.locator(".drop .state").inner_text() == "No column weight"
    page.get_by_label("rows", exact=True).fill("name,weight\nnuts,1,2\n")
    page.locator("#predict").click()
    assert page.get_by_role("alert").inner_text() == "Row 1 has 3 cells, the head has 2."


def test_parquet_file_can_be_dropped(visit):
    pd = pytest.importorskip("pandas")
    file = io.BytesIO()
    pd.DataFrame({"name": ["x"], "weight": [2.0], "amount": [4]}).to_parquet(file)
    page = visit("/orders")
    page.locator(".drop").evaluate(DROP, file_of(file.getvalue(), "a.parquet", ""))
    page.locator(".state", has_text="a.parquet").wait_for()
    predict(page)
    assert page.locator("#answer tbody tr").inner_text() == "1\tx\t2\t4\t8"


def test_tensor_can_be_typed_generated_or_dropped(visit):
    page = visit("/means")
    area = page.get_by_label("pixels", exact=True)
    area.fill("[[[1, 2]], [[3, 4]], [[5")
    assert "Not JSON yet" in page.locator(".state").inner_text()
    area.fill("[[[1, 2]], [[3, 4]], [[5, 6]]]")
    assert page.locator(".state").inner_text() == "Shape 3 × 1 × 2"
    predict(page)
    assert facts(page) == {
        "Shape": "3",
        "Type": "float32",
        "Values": "3",
        "Least": "1.5",
        "Most": "5.5",
        "Mean": "3.5",
    }
    page.get_by_role("button", name="Zeros").click()
    assert page.locator(".state").inner_text() == "Shape 3 × 4 × 4"
    page.get_by_label("Shape of the values").fill("3, 40, 50")
    page.get_by_role("button", name="Random").click()
    assert page.locator(".state").inner_text() == "random.npy, 24 kB: float32 3 × 40 × 50"
    predict(page)
    page.locator(".drop").evaluate(DROP, file_of(npy(np.ones((3, 2, 5), "float32")), "o.npy", ""))
    page.locator(".state", has_text="o.npy").wait_for()
    with page.expect_response("**/means"):
        page.locator("#predict").click()
    page.locator("#answer dd", has_text="1").first.wait_for()
    answered(page)
    assert facts(page)["Mean"] == "1"


@pytest.mark.parametrize("shape", ["4, 5", "50, 60"], ids=["as JSON", "as files"])
def test_made_up_values_fit_the_type_of_the_tensor(visit, shape):
    for name in ("Zeros", "Random"):
        page = visit("/made")
        for field in page.get_by_label("Shape of the values").all():
            field.fill(shape)
        for button in page.get_by_role("button", name=name).all():
            button.click()
        predict(page)
        found = raw(page)
        if name == "Zeros":
            assert found == {"mask": [0, 0], "half": [0, 0], "amounts": [0, 0]}
    assert found["mask"] == [0, 1]
    assert 0 <= found["half"][0] < found["half"][1] <= 1
    assert 0 <= found["amounts"][0] < found["amounts"][1] < 10


WRITE = """async (numbers) => {
  const { write } = await import(new URL("data/npy.js", document.querySelector("script[src]").src));
  let i = 0;
  const file = write("float16", [numbers.length], () => numbers[i++]);
  return [...new Uint8Array(await file.arrayBuffer())];
}"""


def test_numbers_of_half_precision_are_written_as_numpy_writes_them(visit):
    numbers = [0, 2**-24, 2**-15, 2**-14, 0.1, 0.333, 0.9999, 1, 1.5, 2047.4, 65504]
    file = visit("/made").evaluate(WRITE, numbers)
    found = np.load(io.BytesIO(bytes(file)))
    assert found.dtype == np.float16
    assert found.tolist() == np.array(numbers, "float16").tolist()


def test_texts_with_line_breaks_and_empty_ones_are_sent_as_they_are(visit):
    page = visit("/texts")
    area = page.get_by_label("texts", exact=True)
    predict(page)
    assert raw(page) == {"texts": ["a\nb", "", "c"]}
    area.fill('["a\\nb", "d"')
    page.locator("#predict").click()
    assert "Not JSON yet" in page.get_by_role("alert").inner_text()
    area.fill("")
    area.fill("[e\n\nf")
    page.locator("#predict").click()
    page.locator(".raw code", has_text="[e").wait_for(state="attached")
    assert raw(page) == {"texts": ["[e", "f"]}


def test_small_matrix_is_returned_unchanged(visit):
    page = visit("/same")
    page.get_by_label("values", exact=True).fill("[[1.5, 2], [3, 4]]")
    predict(page)
    assert raw(page) == [[1.5, 2.0], [3.0, 4.0]]


def test_small_matrix_is_shown_to_four_digits_row_by_row(visit):
    page = visit("/same")
    page.get_by_label("values", exact=True).fill("[[0.333333, 2], [3, 4]]")
    predict(page)
    assert page.locator("#answer pre").first.inner_text() == "[\n [0.3333, 2],\n [3, 4]\n]"
    assert raw(page)[0][0] == pytest.approx(0.333333)


def test_column_of_numbers_is_aligned_though_values_are_missing(visit):
    page = visit("/orders")
    area = page.get_by_label("rows", exact=True)

    def sides() -> list[str]:
        found = page.locator(".drop th, .drop td").evaluate_all(
            "all => all.map((each) => getComputedStyle(each).textAlign)"
        )
        return [side if side == "right" else "left" for side in found]

    area.fill("name,weight\nnuts,\nbolts,2\n")
    assert sides() == ["left", "right"] * 3
    area.fill("name,weight\nnuts,heavy\nbolts,2\n")
    assert sides() == ["left"] * 6


def test_bytes_are_uploaded_and_downloaded_as_a_file(visit):
    page = visit("/upper")
    chosen = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello <b>"}
    page.locator("input[type=file]").set_input_files(chosen)
    predict(page)
    assert page.locator("#answer pre").inner_text() == "HELLO <B>"
    with page.expect_download() as saved:
        page.locator("#answer").get_by_role("button", name="Save").click()
    assert saved.value.path().read_bytes() == b"HELLO <B>"


def test_new_kind_of_value_is_a_file_and_comes_back_as_one(visit):
    page = visit("/note")
    chosen = {"name": "a.note", "mimeType": "application/x-note", "buffer": b"NOTEhello"}
    page.locator("input[type=file]").set_input_files(chosen)
    predict(page)
    assert page.locator("#answer pre").inner_text() == "NOTEHELLO"
    page.locator("input[type=file]").set_input_files({**chosen, "buffer": b"other"})
    page.locator("#predict").click()
    page.get_by_role("alert").filter(has_text="a note").wait_for()


def test_new_kind_of_value_stands_beside_other_fields(visit):
    page = visit("/noted")
    chosen = {"name": "a.note", "mimeType": "application/x-note", "buffer": b"NOTEab"}
    page.locator("input[type=file]").set_input_files(chosen)
    page.get_by_label("times").fill("2")
    predict(page)
    assert "abab" in page.locator("#answer").inner_text()


def test_record_with_a_field_of_the_parameters_name_is_sent_as_it_is(visit):
    page = visit("/own")
    assert page.get_by_label("own", exact=True).input_value() == "7"
    predict(page)
    assert "7" in page.locator("#answer .place").inner_text()


# --- values that keep their meaning ---------------------------------------------------------------


@pytest.mark.parametrize("number", ["9007199254740993", "-9007199254740993", "7"])
def test_whole_numbers_keep_all_digits(visit, number):
    page = visit("/whole")
    page.get_by_label("x").fill(number)
    with page.expect_request("**/whole") as sent:
        predict(page)
    assert sent.value.post_data == f'{{"x":{number}}}'
    assert page.locator(".big").inner_text() == number
    assert page.locator(".raw code").text_content() == number


def test_lists_and_examples_keep_all_digits(visit):
    page = visit("/large")
    large = str(2**60 + 1)
    assert page.get_by_label("numbers").input_value() == large
    for text in (large, f"[{large}, 1]"):
        page.get_by_label("numbers").fill(text)
        with page.expect_request("**/large") as sent:
            predict(page)
        assert sent.value.post_data.startswith(f"[{large}")
        assert f'"rows": [{large}' in page.locator(".raw code").text_content()
    page.get_by_role("button", name="Small").click()
    assert page.get_by_label("numbers").input_value() == "7"
    page.get_by_role("button", name="Large").click()
    assert page.get_by_label("numbers").input_value() == large


def test_commas_and_semicolons_among_numbers_are_not_guessed(visit):
    page = visit("/total")
    page.get_by_label("numbers").fill("1,5; 2,5")
    page.locator("#predict").click()
    assert "may be one number or two" in page.get_by_role("alert").inner_text()


def test_empty_union_with_none_is_null(visit):
    page = visit("/maybe")
    with page.expect_request("**/maybe") as sent:
        predict(page)
    assert sent.value.post_data == "null"
    assert page.locator(".big").inner_text() == "NoneType"
    page.get_by_text("Numbers", exact=True).click()
    with page.expect_request("**/maybe") as sent:
        predict(page)
    assert sent.value.post_data == "null"
    page.get_by_label("Input").last.fill("1.5")
    predict(page)
    assert page.locator(".big").inner_text() == "list"
